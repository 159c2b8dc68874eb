"""Filters as SQL over chunks joined with their documents."""

from vectordb.schemas.filters import METADATA_PREFIXES, And, Condition, Equals

Bindings = list[str | int | float]

_COLUMNS = {
    "document_id": "documents.id",
    "document.name": "documents.name",
    "text": "chunks.text",
    "created_at": "chunks.created_at",
    "updated_at": "chunks.updated_at",
}


def compile_filter(condition: Condition | None) -> tuple[str, Bindings]:
    """Return (an SQL expression, its bindings); every value is a binding, never text of the expression."""
    if condition is None:
        return "TRUE", []
    if isinstance(condition, And):
        compiled = [compile_filter(part) for part in condition.parts]
        sql = " AND ".join(f"({part})" for part, _ in compiled)
        return sql, [value for _, values in compiled for value in values]
    return _compile_equals(condition)


def _compile_equals(condition: Equals) -> tuple[str, Bindings]:
    column = _COLUMNS.get(condition.field)
    if column is not None:
        if condition.value is None:  # these columns are never null
            return "FALSE", []
        return f"{column} = ?", [condition.value]
    table, name = _split_metadata_field(condition.field)
    types, value = _json_types_of(condition)
    # json_each compares the key as it is written, so that no name needs quoting into a path.
    every = f"SELECT 1 FROM json_each({table}.metadata) AS field WHERE field.key = ? AND field.type IN ({types})"  # noqa: S608
    if value is None:
        return f"EXISTS ({every})", [name]
    return f"EXISTS ({every} AND field.atom = ?)", [name, value]


def _split_metadata_field(field: str) -> tuple[str, str]:
    own, documents = METADATA_PREFIXES
    if field.startswith(own):
        return "chunks", field.removeprefix(own)
    return "documents", field.removeprefix(documents)


def _json_types_of(condition: Equals) -> tuple[str, str | int | float | None]:
    """Return (SQLite's names of the JSON types that may equal the value, the value where the type does not say it)."""
    match condition.value:
        case None:
            return "'null'", None
        case bool(value):
            return f"'{str(value).lower()}'", None
        case str(value):
            return "'text'", value
        case number:
            return "'integer', 'real'", number
