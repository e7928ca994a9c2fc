"""Settings: what there is to set, where it comes from, and what names in it mean."""

from zerosum.config.recipes import (
    AUTOMATIC,
    FILES,
    FREE,
    MOST,
    check,
    code_names,
    differences,
    dumps,
    explain,
    flat,
    is_code,
    is_file,
    is_path,
    is_text,
    load,
    override,
    parse,
    plain,
    recipe_text,
    shipped,
    with_train,
)

__all__ = [
    "AUTOMATIC", "FILES", "FREE", "MOST", "check", "code_names", "differences", "dumps", "explain", "flat", "is_code",
    "is_file", "is_path", "is_text", "load", "override", "parse", "plain", "recipe_text", "shipped", "with_train",
]  # fmt: skip
