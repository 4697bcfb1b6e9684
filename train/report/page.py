"""One page that holds everything: it has no script and asks no server for anything."""

import base64
import html
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from train.options import flat
from train.presets import PRESETS
from train.report.picture import Picture
from train.report.words import explain, number, setting


def render_page(
    title: str,
    summary: str,
    figures: Sequence[str],
    *,
    config: Mapping[str, Any],
    result: Mapping[str, Any],
) -> str:
    """The whole page; `figures` as `write_picture` returns them, the rest is text."""
    command = html.escape(rerun_command(config))
    return _PAGE.substitute(
        title=html.escape(title),
        summary=html.escape(summary),
        results=_results_table(result),
        pictures="\n".join(figures),
        command=_COMMAND.substitute(command=command) if command else "",
        config=_config_table(config),
    )


def write_picture(run: Path, picture: Picture) -> str:
    """Saves the PNG, and returns its part of the page as HTML."""
    path = run / f"{picture.name}.png"
    picture.figure.savefig(path, metadata={"Title": picture.title})
    pixels = picture.figure.get_size_inches() * picture.figure.dpi
    # Two pixels of the file are one of the page: sharp on dense screens.
    width, height = (round(side / 2) for side in pixels)
    return _FIGURE.substitute(
        title=html.escape(picture.title),
        caption=html.escape(picture.caption),
        data=base64.b64encode(path.read_bytes()).decode("ascii"),
        width=width,
        height=height,
    )


def _results_table(result: Mapping[str, Any]) -> str:
    rows = []
    for name, value in flat(result).items():
        if value is not None:
            label, reading = explain(name)
            rows.append(_row(("th", label), ("td", number(value)), ("td", reading)))
    return "\n".join(rows)


def _config_table(config: Mapping[str, Any]) -> str:
    return "\n".join(
        _row(("th", name), ("td", setting(value)))
        for name, value in flat(config).items()
    )


def _row(*cells: tuple[str, str]) -> str:
    inside = (f"<{tag}>{html.escape(text)}</{tag}>" for tag, text in cells)
    return f"<tr>{''.join(inside)}</tr>"


def rerun_command(config: Mapping[str, Any]) -> str:
    """How to run it again: the preset and what differs from it; "" without a preset."""
    preset = config.get("preset")
    if preset not in PRESETS:
        return ""
    default = flat(PRESETS[preset].config())
    words = ["python", "-m", "train", preset]
    for name, value in flat(config).items():
        # Where a run lies is not what it is.
        if name in default and name not in ("out", "overwrite"):
            words += _option(name, value, default[name])
    return shlex.join(words)


def _option(name: str, value: Any, default: Any) -> list[str]:
    value, default = (tuple(v) if isinstance(v, list) else v for v in (value, default))
    flag = name.replace("_", "-")
    *path, last = flag.split(".")
    if value == default:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--{'.'.join([*path, f'no-{last}'])}"]
    return [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]


_FIGURE = Template("""\
<section>
<h2>$title</h2>
<figure>
<div class="card"><img src="data:image/png;base64,$data" alt="$title"
 width="$width" height="$height"></div>
<figcaption>$caption</figcaption>
</figure>
</section>""")

_COMMAND = Template("""\
<section>
<h2>Run it again</h2>
<pre><code>$command</code></pre>
</section>""")


_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #fff; --ink: #1c2026; --soft: #5b6470; --line: #dfe3e8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1d2127; --ink: #e7eaee; --soft: #9aa4b0; --line: #333a43;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, sans-serif;
}
main {
  max-width: 84rem; margin: 0 auto; padding: clamp(1rem, 4vw, 3rem);
  columns: 34rem 2; column-gap: 2.5rem;
}
section { break-inside: avoid; margin-bottom: 2.2rem; }
header { column-span: all; margin-bottom: 2.2rem; }
header p { max-width: 46rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.2rem); line-height: 1.2; margin: 0 0 .8rem; }
h2 { font-size: 1.15rem; margin: 0 0 .6rem; }
p { margin: 0; }
figure { margin: 0; }
figcaption {
  color: var(--soft); font-size: .9rem; margin-top: .6rem; max-width: 44rem;
}
.card, .scroll, pre {
  border: 1px solid var(--line); border-radius: .6rem; overflow-x: auto;
}
.card { background: #fff; padding: .4rem; }
.card img { display: block; margin: auto; max-width: 100%; height: auto; }
.scroll { background: var(--card); }
pre { background: var(--card); margin: 0; padding: .8rem 1rem; font-size: .9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .4rem .8rem; text-align: left; vertical-align: baseline; }
tr + tr > * { border-top: 1px solid var(--line); }
th { font-weight: 500; }
.results td:nth-child(2) {
  text-align: right; font-weight: 600; font-variant-numeric: tabular-nums;
  white-space: nowrap;
}
.results td:nth-child(3) { color: var(--soft); }
.config td { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<p>$summary</p>
</header>
<section>
<h2>Results</h2>
<div class="scroll"><table class="results">
$results
</table></div>
</section>
$pictures
$command
<section>
<h2>Configuration</h2>
<div class="scroll"><table class="config">
$config
</table></div>
</section>
</main>
</body>
</html>
""")
