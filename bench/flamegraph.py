#!/usr/bin/env python3
"""Draws `perf script` output (standard input) as an SVG: each box is a function, as wide as its share of the samples, callees above callers.

    perf record -F 499 -g -p PID -- sleep 10 && perf script | bench/flamegraph.py --title "..." > profile.svg
"""

import argparse
import html
import re
import sys
import zlib

ROW, WIDTH, LEAST = 17, 1200, 0.25  # pixels; a box narrower than LEAST is left out


class Node:
    def __init__(self) -> None:
        self.samples = 0
        self.children: dict[str, "Node"] = {}


def short(symbol: str) -> str:
    """Without arguments, template arguments and the longest namespaces."""
    symbol = re.sub(r"\+0x[0-9a-f]+$", "", symbol)
    symbol = symbol.replace("(anonymous namespace)::", "")
    depth, out = 0, []
    for c in symbol:
        if c in "<(":
            depth += 1
        if not depth:
            out.append(c)
        if c in ">)":
            depth = max(depth - 1, 0)
    name = "".join(out).strip() or symbol
    for prefix in ("palisade::", "boost::beast::", "simdjson::"):
        name = name.replace(prefix, "")
    return name.split(" ")[-1] if " " in name and "operator" not in name else name


def read(lines) -> Node:
    root, stack, inside = Node(), [], False
    for line in [*lines, "\n"]:
        if line.strip() and not line[0].isspace():
            inside = True
        elif line.strip() and inside:
            symbol, _, library = line.split(None, 1)[-1].strip().rpartition(" (")
            # A library without symbols is one box, however deep.
            name = f"[{library.rstrip(')').rsplit('/', 1)[-1]}]" if symbol.startswith("[unknown]") else short(symbol)
            if not stack or stack[-1] != name or not name.startswith("["):
                stack.append(name)
        elif not line.strip():
            if stack:
                node = root
                node.samples += 1
                for symbol in reversed(stack):
                    node = node.children.setdefault(symbol, Node())
                    node.samples += 1
            stack, inside = [], False
    return root


def colour(name: str) -> str:
    """Warm for the kernel and libraries, cool for Palisade's own, alike for the same name."""
    shade = zlib.crc32(name.encode()) % 50
    if re.match(r"(kube|policy|webhook)::", name):
        return f"rgb({70 + shade},{140 + shade},{200 + shade // 2})"
    return f"rgb({215 + shade // 2},{130 + 2 * shade},{70 + shade // 2})"


def draw(node: Node, name: str, x: float, depth: int, scale: float, total: int, height: int, out: list[str]) -> None:
    width = node.samples * scale
    if width < LEAST:
        return
    y = height - (depth + 2) * ROW
    share = f"{100 * node.samples / total:.1f}%"
    text = html.escape(name[:max(int(width / 6.2) - 1, 0)]) if width > 30 else ""
    out.append(f'<g><title>{html.escape(name)}: {share}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" '
               f'fill="{colour(name)}"/>' + (f'<text x="{x + 2:.1f}" y="{y + 12}">{text}</text>' if text else "") + "</g>")
    for child, below in sorted(node.children.items()):
        draw(below, child, x, depth + 1, scale, total, height, out)
        x += below.samples * scale


def depth_of(node: Node, scale: float) -> int:
    return 1 + max((depth_of(child, scale) for child in node.children.values() if child.samples * scale >= LEAST), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--title", default="profile")
    parser.add_argument("--root", help="only stacks through this function, from it on")
    flags = parser.parse_args()
    sys.setrecursionlimit(10_000)
    root = read(sys.stdin)
    if flags.root:
        kept = Node()

        def gather(node: Node) -> None:
            for name, child in node.children.items():
                if name == flags.root:
                    kept.samples += child.samples
                    merge(kept.children.setdefault(name, Node()), child)
                else:
                    gather(child)

        def merge(into: Node, node: Node) -> None:
            into.samples += node.samples
            for name, child in node.children.items():
                merge(into.children.setdefault(name, Node()), child)

        gather(root)
        root = kept
    if not root.samples:
        raise SystemExit("no samples")
    scale = WIDTH / root.samples
    height = (depth_of(root, scale) + 3) * ROW
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           f'font-family="monospace" font-size="10"><rect width="100%" height="100%" fill="#fcfcfa"/>'
           f'<text x="4" y="14" font-size="13">{html.escape(flags.title)} ({root.samples:,} samples)</text>']
    draw(root, "all", 0, 0, scale, root.samples, height, out)
    print("\n".join(out) + "</svg>")


if __name__ == "__main__":
    main()
