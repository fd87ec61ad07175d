"""What MkDocs is told beyond mkdocs.yml: pages that do not lie in docs/, and links between all of them.

A link is written for who reads the files themselves, ``../benchmarks/RESULTS.md`` say; where its file is a
page of the site, it becomes a link to the page. Any other link out of docs/ is left to
``mkdocs build --strict``, which refuses it.
"""

import posixpath
import re

import reference
from mkdocs.structure.files import File

# Files of the repository that are pages too.
OUTSIDE = {
    "egs/librispeech/README.md": "recipes/librispeech.md",
    "egs/mosei/README.md": "recipes/mosei.md",
    "egs/librispeech/RESULTS.md": "results/librispeech.md",
    "egs/mosei/RESULTS.md": "results/mosei.md",
    "benchmarks/RESULTS.md": "results/benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)\s]*)?(?=\))")


def on_files(files, config):
    """Add the pages that do not lie in docs/."""
    for source, page in OUTSIDE.items():
        path = reference.REPOSITORY / source
        files.append(File.generated(config, page, abs_src_path=str(path)))
    for page, text in reference.pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links to files of the repository into links to their pages."""
    return relink(markdown, page.file.src_uri)


def relink(markdown: str, page: str) -> str:
    """The page's text with its links as the site has them.

    Args:
        markdown: the page as it lies in the repository.
        page: its path within the site's sources, such as ``recipes/mosei.md``.
    """
    source = next((file for file, other in OUTSIDE.items() if other == page), f"docs/{page}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if target not in OUTSIDE and f"{target}/README.md" in OUTSIDE:  # a recipe's folder
            target += "/README.md"
        uri = OUTSIDE.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if uri is None:
            return link[0]
        return posixpath.relpath(uri, posixpath.dirname(page) or ".") + (link[2] or "")

    return _LINK.sub(moved, markdown)
