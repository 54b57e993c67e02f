# SPDX-License-Identifier: Apache-2.0
"""What the terminal panel shows: one state of the supervisor as lines of text. Pure.

A line is a list of (text, style) pairs; `paint` clips it to the terminal and turns styles into ANSI codes.
"""

from __future__ import annotations

from collections.abc import Iterable

from rove_supervisor.controls import ACTION_OF, CONTROLS, SENTENCES, SWITCHES, TITLES

Line = list[tuple[str, str]]

STYLES = {
    "IDLE": "idle",
    "ROLLOUT": "blue",
    "PAUSED": "amber",
    "ADAPTATION": "violet",
    "RECOVERY": "green",
    "DEMONSTRATION": "cyan",
    "ESTOP": "red",
}
ROWS = (" 12", "ptru", "sfA0T")  # of the keys on the screen
PLURAL = ("arm", "hand", "end_effector")  # blocks of which a robot has one on each side
CODES = {
    "": "",
    "bold": "1",
    "dim": "2",
    "good": "32",
    "bad": "1;31",
    "warn": "33",
    "key": "1;36",
    "idle": "1;30;47",
    "blue": "1;30;104",
    "amber": "1;30;103",
    "violet": "1;30;105",
    "green": "1;30;102",
    "cyan": "1;30;106",
    "red": "1;97;41",
}
SPARKS = "▁▂▃▄▅▆▇█"


def paint(line: Line, width: int, color: bool = True) -> str:
    """Text of at most `width` columns, with ANSI codes if color."""
    out, left = [], width
    for text, style in line:
        text = text[:left]
        left -= len(text)
        code = CODES[style] if color else ""
        out.append(f"\x1b[{code}m{text}\x1b[0m" if code and text else text)
    return "".join(out)


def render(
    state: dict | None, name: str, since: float, hint: str, trouble: str, width: int, armed: bool = False
) -> list[Line]:
    """Lines of the whole screen. state: the newest one, s old by `since`. trouble: why there is no connection, "" if
    there is one.

    name: of this client. hint: the answer to the last key. armed: a second T forces the takeover.
    """
    if trouble or state is None:
        last = f" · last known mode: {state['mode']}" if state else ""
        return [
            [(f" NO CONNECTION{last}".ljust(width), "red")],
            [(f" {trouble or 'connecting'}", "")],
            [],
            [("q quit", "dim")],
        ]
    words, style = SENTENCES[state["mode"]], STYLES[state["mode"]]
    title = f" {TITLES[state['mode']]}  {state['time_in_mode'] + since:.1f} s"
    lines: list[Line] = [
        _task(state["session"]),
        [(title.ljust(width), style)],
        [(f" {words}", "bold")],
        _advice(state, width),
        _links(state["links"]),
        [],
        *_keys(state["actions"], armed),
        *_reasons(state["actions"], state["mode"]),
        [(f" {hint}", "bold" if hint else "")],
        *_alignment(state["alignment"]),
        _latency(state["latency"]),
        *_timeline(state, since, width),
        [],
        *_session(state["session"], state["links"]["recorder"]),
        _switches(state, name),
    ]
    for row in state["warnings"]:
        lines.append([(f" {row['who']}: {row['text']}", "bad" if row["level"] == 2 else "warn")])
    clients = state["panel"]["clients"]
    return [*lines, [(f" q quit (the robot goes on) · {clients} panel{'s' * (clients != 1)} open", "dim")]]


def _task(s: dict) -> Line:
    parts = [
        s["evaluation"],
        s["operator"] and f"operator {s['operator']}",
        s["checkpoint"] and f"policy {s['checkpoint']}",
    ]
    return [(" ROVE  ", "bold"), (" · ".join([s["instruction"], *filter(None, parts), f"from {s['start_stage']}"]), "")]


def _advice(state: dict, width: int) -> Line:
    if state["notice"]:
        return [(f" {state['notice']}".ljust(width), "red")]
    if state["advice"]:
        return [(f" {state['advice']}".ljust(width), "amber")]
    points = state["value"]["points"]
    return [(f" Value {points[-1][1]:.2f}" if points else " No advice", "dim")]


def _links(links: dict) -> Line:
    line: Line = [(" ", "")]
    for key, unit in (("robot", "Hz"), ("camera", "fps"), ("operator", "Hz"), ("recorder", "")):
        link = links[key]
        if key == "recorder":
            text = link["text"] or ("off" if not link["on"] else "recording" if link["recording"] else "ready")
        else:
            text = link["text"] or f"{link['rate']:.0f} {unit}, {1e3 * link['age']:.0f} ms"
        line += [
            ("● ", "good" if link["ok"] else "bad"),
            (f"{key.capitalize()} ", "bold"),
            (f"{text}   ", "" if link["ok"] else "bad"),
        ]
    return line


def _keys(actions: dict[str, str], armed: bool) -> Iterable[Line]:
    for row in ROWS:
        line: Line = [(" ", "")]
        for key in row:
            action = ACTION_OF[key]
            name = CONTROLS[action].name
            possible = action == "estop" or not actions[action]
            if action == "force_takeover":
                possible = possible and bool(actions["takeover"])  # not needed when the operator is aligned
                name = "press T again to force" if armed else name
            shown = "Space" if key == " " else key
            line += [(f"[{shown}] ", "key" if possible else "dim")]
            line += [(name, "red" if key == " " else "bold" if possible else "dim"), ("   ", "")]
        yield line


def _reasons(actions: dict[str, str], mode: str) -> Iterable[Line]:
    """Why something that the mode would allow is not possible now."""
    for action, control in CONTROLS.items():
        why = actions[action]
        if why and action != "force_takeover" and "not possible in" not in why:
            yield [(f" {control.name}: {why}", "warn")]


def _title(block: str) -> str:
    return block.replace("_", " ").capitalize() + ("s" if block in PLURAL else "")


def _alignment(alignment: dict) -> Iterable[Line]:
    threshold, stale = alignment["threshold"], "operator" in alignment["why"]
    verdict = alignment["why"].partition(", limit")[0] or f"aligned; worst: {alignment['worst_joint'] or '–'}"
    for i, block in enumerate(alignment["names"]):
        name = _title(block)
        error = alignment["blocks"].get(block, 0.0) if not stale else None
        filled = 0 if stale else 20 if error is None else min(20, round(10 * error / threshold))
        bar = "".join("█" if k < filled else "░" for k in range(20))
        number = "–" if stale or block not in alignment["blocks"] else "?" if error is None else f"{error:.2f}"
        if error is not None and not stale:
            number = alignment["lengths"].get(block, number)  # of a joint that slides, in m
        style = "bad" if filled > 10 else "good"
        line: Line = [
            (f" {name[:12]:6}", ""),
            (bar[:10], style),
            ("│", "bold"),
            (bar[10:], style),
            (f" {number:>5}", ""),
        ]
        yield [*line, (f"   {verdict}", "bad" if alignment["why"] else "good")] if i == 0 else line


def _latency(stages: dict) -> Line:
    """Median and 99th percentile of each stage of the command path."""
    text = " · ".join(f"{stage} {p50:.0f}/{p99:.0f}" for stage, (p50, p99, _) in stages.items())
    return [(f" Latency, ms  {text}", "dim")] if text else []


def _timeline(state: dict, since: float, width: int) -> Iterable[Line]:
    """A strip of the stages over the whole width, and the value over it."""
    episode, segments = state["episode"], state["timeline"]
    if episode is None or not segments:
        yield [(" No episode yet", "dim")]
        return
    running = segments[-1][2] is None
    elapsed = episode["elapsed"] + (since if running else 0.0)
    columns = max(10, width - 2)
    end = f"{episode['kind']} from {episode['start_stage']}" if running else f"{episode['outcome']} {episode['note']}"
    milestone = state["session"]["milestone"] if running else episode["milestone"]
    reached = f"  {milestone}" if milestone else ""
    yield [(f" {episode['id']}  ", "bold"), (f"{end}  {elapsed:.1f} s", ""), (reached, "good")]
    strip: Line = [(" ", "")]
    edges = [round(columns * begin / max(elapsed, 1e-3)) for _, begin, _ in segments] + [columns]
    for (mode, _, _), left, right in zip(segments, edges, edges[1:]):
        if right > left:
            strip.append((mode.lower()[: right - left].ljust(right - left), STYLES[mode]))
    yield strip
    points = state["value"]["points"]
    if points:
        at = [min(columns - 1, int(columns * t / max(elapsed, 1e-3))) for t, _ in points]
        curve = " " * at[0]
        for (_, v), left, right in zip(points, at, [*at[1:], at[-1] + 1]):  # each value holds until the next
            curve += SPARKS[max(0, min(7, int(8 * (v + 1.0))))] * (right - left)
        yield [(" " + curve, "")]


def _percent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.0f} %"


def _session(s: dict, recorder: dict) -> Iterable[Line]:
    disk = f"{float(recorder['disk_free_gb']):.0f} GB" if recorder["disk_free_gb"] else "–"
    rates = (("success", "success_rate"), ("unaided", "autonomous_rate"), ("intervention", "intervention_fraction"))
    numbers = [
        f"Rollouts {s['rollouts']}",
        *(f"{word} {_percent(s[key])}" for word, key in rates),
        f"demos {s['demonstrations']}",
    ]
    yield [(" " + " · ".join([*numbers, f"disk {disk}", f"dropped {recorder['dropped'] or '–'}"]), "")]
    if s["recent"]:
        rows = [
            f"{i[-3:]} {outcome} {long:.1f} s" + (f" (helped {h:.1f} s)" if h else "")
            for i, _, outcome, long, h in s["recent"][:4]
        ]
        yield [(" Episodes ", ""), (" · ".join(rows), "dim")]
    stages = ", ".join(f"{stage} ({count})" for stage, count in zip(s["start_stages"], s["collected"]))
    line: Line = [(f" {SWITCHES['start_stage'].name} {s['start_stage']} of {stages}   ", "")]
    if s["proposed_stage"] != s["start_stage"]:
        line += [(f"[{SWITCHES['start_stage'].key}] ", "key"), (f"least collected: {s['proposed_stage']}", "warn")]
    yield line


def _switches(state: dict, name: str) -> Line:
    holder = state["dead_man"]["holder"]
    dead = "off" if not state["dead_man"]["on"] else "you hold it" if holder and holder == name else holder or "on"
    auto = "on" if state["auto_pause"] else "off"
    return [
        (f" [{SWITCHES['auto_pause'].key}] ", "key"),
        (f"{SWITCHES['auto_pause'].name} {auto}   ", ""),
        (f"[{SWITCHES['dead_man'].key}] ", "key"),
        (f"{SWITCHES['dead_man'].name} {dead}   ", ""),
        (f"[{SWITCHES['sound'].key}] ", "key"),
        ("bell", ""),
    ]
