"""The model card's figures are those of the files that ship."""

from traces.nano.card import CARD, fill, read_figures, tables


def test_the_tables_are_those_of_the_files() -> None:
    """Every table of the card is what `python -m traces.nano.card` makes of the training's and the trace's figures."""
    card = CARD.read_text(encoding="utf-8")
    assert fill(card, tables()) == card


def test_the_model_is_far_better_than_n_grams() -> None:
    """Held-out losses: below a bigram's on every source, and more than a nat below a unigram's over all."""
    figures = read_figures()
    for name, loss in figures["held_out_loss"].items():
        assert loss < figures["bigram_loss"][name]
    assert figures["held_out_loss"]["all"] < figures["unigram_loss"]["all"] - 1.0


def test_the_card_names_every_source() -> None:
    """Each source's package and licence stand in the card."""
    card = CARD.read_text(encoding="utf-8")
    for row in read_figures()["corpus"]:
        assert row["source"] in card
        assert row["licence"] in card
        assert all(package in card for package in row["packages"])
