"""Settings: their definitions, recipes and overrides, and how a name is looked up (`registry`)."""

from zerosum.config.recipes import (
    AUTOMATIC,
    CHANGEABLE,
    DATA_SUFFIXES,
    MAX_BYTES,
    check,
    code_settings,
    differences,
    dumps,
    explain,
    flat,
    is_code,
    is_file,
    is_path,
    is_utf8,
    load,
    override,
    parse,
    recipe_text,
    run_name,
    shipped,
    with_train,
)

__all__ = [
    "AUTOMATIC", "CHANGEABLE", "DATA_SUFFIXES", "MAX_BYTES", "check", "code_settings", "differences", "dumps",
    "explain", "flat", "is_code", "is_file", "is_path", "is_utf8", "load", "override", "parse", "recipe_text",
    "run_name", "shipped", "with_train",
]  # fmt: skip
