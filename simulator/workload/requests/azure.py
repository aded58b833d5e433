"""The request traces of Azure's LLM inference services: CSV of time, prompt and output tokens.

Source: Azure/AzurePublicDataset, AzureLLMInferenceDataset2023 (arXiv 2311.18677, Splitwise) and 2024 (arXiv 2408.00741).
"""

from collections.abc import Iterator

from simulator.workload.requests.lines import Lines
from simulator.workload.requests.protocol import Entry, ReadOptions, RequestFormat
from simulator.workload.requests.table import Table, has_columns
from simulator.workload.requests.timestamps import timestamp_ns

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def _read(lines: Lines, options: ReadOptions) -> Iterator[Entry]:
    category = options.category_field
    for row in Table(lines, (*_COLUMNS, *([category] if category else []))):
        yield Entry(
            line=row.number,
            column=row.column("TIMESTAMP"),
            time_ns=row.value("TIMESTAMP", timestamp_ns),
            prompt_tokens=row.tokens("ContextTokens"),
            output_tokens=row.tokens("GeneratedTokens"),
            category=row.text_of(category),
        )


AZURE = RequestFormat(
    description="Azure LLM inference CSV: TIMESTAMP, ContextTokens, GeneratedTokens",
    recognises=lambda line: has_columns(line, _COLUMNS),
    read=_read,
)
