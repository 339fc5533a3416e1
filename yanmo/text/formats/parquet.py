"""Parquet, a batch of rows at a time (the extra `data` brings pyarrow)."""

from yanmo.errors import DataError, optional
from yanmo.text.formats.base import Row, Source, Stream

_BATCH = 1024  # rows


def read(source: Source) -> Stream:
    parquet = optional("pyarrow.parquet", "data")
    arrow = optional("pyarrow", "data")
    number = 0
    try:
        with source.member.open() as file, parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(_BATCH):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(fields, number, 0)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{source.name}:{number + 1}: not readable as .parquet ({error})") from None
