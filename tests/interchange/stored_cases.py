"""What the checks of exported models against stored cases share."""
import pathlib
import tempfile
from typing import Callable, Iterable


def loading_problems(info: dict) -> list[str]:
    """Of from_pretrained(..., output_loading_info=True)."""
    return [f"{kind}: {sorted(info[kind])}" for kind in
            ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]]


def check_all(folders: Iterable[pathlib.Path],
              check: Callable[[pathlib.Path, pathlib.Path], list[str]], praise: str) -> int:
    """Exit status: check(CASE, OUT) says what is wrong with each case that exists; 77 if none does."""
    folders = [folder for folder in folders if folder.exists()]
    if not folders:
        print("skipped: no stored cases")
        return 77
    failed = False
    for folder in folders:
        with tempfile.TemporaryDirectory() as temporary:
            problems = check(folder, pathlib.Path(temporary) / "exported")
        print(f"{folder.name}: {'; '.join(problems) or praise}")
        failed |= bool(problems)
    return int(failed)
