"""Cleaning and splitting text."""

from pathlib import Path

from traces.nano.corpus import SOURCES, clean, is_held_out, mallard_text

PAGE = """<page xmlns="http://projectmallard.org/1.0/" type="topic" id="demo">
  <info><credit><name>A. Writer</name></credit></info>
  <title>Turn it off</title>
  <p>Press the   <key>Power</key>
     button.</p>
  <steps><item><p>Wait.</p></item></steps>
</page>
"""


def test_clean_text_has_no_addresses_and_no_licence_tags() -> None:
    """Mail addresses and SPDX lines go, as do trailing blanks and runs of empty lines."""
    text = ".. SPDX-License-Identifier: GPL-2.0\nBy A. Writer <a.writer@example.org>  \n\n\n\nText\r\n"
    assert clean(text) == "By A. Writer\n\nText\n"


def test_a_help_page_becomes_its_prose(tmp_path: Path) -> None:
    """Titles, paragraphs and list items stay; credits and markup go."""
    path = tmp_path / "demo.page"
    path.write_text(PAGE, encoding="utf-8")
    assert mallard_text(path) == "# Turn it off\n\nPress the Power button.\n\n- Wait."


def test_a_broken_help_page_is_empty(tmp_path: Path) -> None:
    """A page that is no XML gives no text, so that it is left out."""
    path = tmp_path / "demo.page"
    path.write_text("<page>", encoding="utf-8")
    assert mallard_text(path) == ""


def test_one_document_in_twelve_is_held_out() -> None:
    """The split depends on the name alone, and its share is what it says."""
    held_out = sum(is_held_out(f"document-{number}") for number in range(12_000))
    assert 900 < held_out < 1100


def test_shares_add_up_to_one() -> None:
    """The sources' parts of the training tokens are parts of one whole."""
    assert abs(sum(source.share_frac for source in SOURCES) - 1) < 1e-9
