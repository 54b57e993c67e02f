# SPDX-License-Identifier: Apache-2.0
"""What a launch file says is what is started, and what is wrong in it is named with its line."""

import pytest

from rove_bringup import launch_file, packages
from rove_bringup.launch_tree import LaunchError

pytestmark = pytest.mark.usefixtures("lab_package")


@pytest.fixture
def session(tmp_path):
    """text of a launch file, arguments -> Session."""

    def load(text: str, **arguments: str):
        path = tmp_path / "test.launch.yaml"
        path.write_text(text)
        return launch_file.load_session(path, arguments)

    return load


def ros_arguments(process) -> list[str]:
    """The command behind the first --ros-args."""
    command = list(process.command)
    return command[command.index("--ros-args") + 1 :]


def test_a_node_gets_name_namespace_parameters_and_remaps(session, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**: {ros__parameters: {gain: 1.0}}\n")
    [process] = session(
        f"""
launch:
  - arg: {{name: rate, default: '20'}}
  - node:
      pkg: lab
      exec: echo
      name: ear
      namespace: left
      args: --verbose "two words" $(var rate)Hz
      param:
        - from: {params}
        - name: rate
          value: $(var rate)
        - name: label
          value: $(var rate)
          type: str
        - name: filter
          param:
            - {{name: order, value: 3}}
            - {{name: taps, value: [0.5, 0.25]}}
      remap:
        - {{from: /in, to: /out}}
"""
    ).processes
    assert process.name == "ear"
    assert process.command[1:4] == ("--verbose", "two words", "20Hz")
    assert ros_arguments(process) == [
        "-r",
        "__node:=ear",
        "-r",
        "__ns:=/left",
        "--params-file",
        str(params),
        "-p",
        "rate:=20",
        "-p",
        'label:="20"',
        "-p",
        "filter.order:=3",
        "-p",
        "filter.taps:=[0.5, 0.25]",
        "-r",
        "/in:=/out",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5", "5"), ("1.5", "1.5"), ("true", "true"), ("[1, 2]", "[1, 2]"), ("a b", '"a b"'), ("", '""')],
)
def test_the_type_of_a_parameter_follows_from_its_text(session, value, expected):
    text = "launch: [{arg: {name: x}}, {node: {pkg: lab, exec: echo, param: [{name: p, value: $(var x)}]}}]"
    assert ros_arguments(session(text, x=value).processes[0]) == ["-p", f"p:={expected}"]


def test_quoted_text_stays_text(session):
    [process] = session("launch: [{node: {pkg: lab, exec: echo, param: [{name: p, value: '5'}]}}]").processes
    assert ros_arguments(process) == ["-p", 'p:="5"']


@pytest.mark.parametrize(("operator", "names"), [("scripted", ["a", "b"]), ("zmq", ["b", "c"])])
def test_conditions_choose_what_is_started(session, operator, names):
    text = """
launch:
  - arg: {name: operator}
  - node: {pkg: lab, exec: echo, name: a, if: "$(equals $(var operator) scripted)"}
  - node: {pkg: lab, exec: echo, name: b, unless: "$(equals $(var operator) none)"}
  - node: {pkg: lab, exec: echo, name: c, if: "$(eval \\"'$(var operator)' in ['zmq']\\")"}
"""
    assert [p.name for p in session(text, operator=operator).processes] == names


def test_a_group_keeps_its_lets_and_environment_to_itself(session):
    text = """
launch:
  - let: {name: x, value: outside}
  - group:
      - let: {name: x, value: inside}
      - set_env: {name: COLOUR, value: $(var x)}
      - executable: {cmd: 'true $(var x)'}
  - group:
      scoped: false
      children:
        - let: {name: y, value: kept}
  - executable: {cmd: 'true $(var x) $(var y)', env: [{name: COLOUR, value: red}]}
"""
    inside, outside = session(text).processes
    assert inside.command == ("true", "inside") and inside.environment["COLOUR"] == "inside"
    assert outside.command == ("true", "outside", "kept") and outside.environment["COLOUR"] == "red"


def test_an_include_passes_arguments_and_knows_its_own_directory(session, tmp_path):
    inner = tmp_path / "parts" / "inner.launch.yaml"
    inner.parent.mkdir()
    inner.write_text("launch: [{arg: {name: size}}, {executable: {cmd: 'true $(dirname) $(var size)'}}]")
    text = """
launch:
  - include: {file: $(dirname)/parts/inner.launch.yaml, arg: [{name: size, value: '3'}]}
  - executable: {cmd: 'true $(dirname)'}
"""
    first, second = session(text).processes
    assert first.command == ("true", str(inner.parent), "3")
    assert second.command == ("true", str(tmp_path))


def test_required_and_respawn_are_read(session):
    text = """
launch:
  - executable: {cmd: a, on_exit: shutdown}
  - executable: {cmd: b, respawn: 'true', respawn_delay: 0.5, respawn_max_retries: 2}
"""
    required, respawned = session(text).processes
    assert required.required and not required.respawn
    assert (respawned.respawn, respawned.respawn_delay_s, respawned.respawn_max_retries) == (True, 0.5, 2)


def test_two_nodes_of_the_same_name_can_be_told_apart(session):
    text = "launch: [{node: {pkg: lab, exec: echo}}, {node: {pkg: lab, exec: echo}}]"
    assert [p.name for p in session(text).processes] == ["echo", "echo-2"]


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (3, "launch:\n  - arg: {name: a, default: b}\n  - timer: {period: 1.0}\n", "unknown construct `timer`"),
        (
            5,
            "launch:\n  - node:\n      pkg: lab\n      exec: echo\n      launch-prefix: gdb\n",
            "unknown attribute `launch-prefix`",
        ),
        (
            4,
            "launch:\n  - node:\n      pkg: lab\n      exec: ecko\n",
            "no executable 'ecko'; it has echo. Did you mean echo",
        ),
        (3, "launch:\n  - node:\n      pkg: labb\n      exec: echo\n", "unknown package 'labb'.*Did you mean lab"),
        (2, "launch:\n  - node:\n      pkg: lab\n", "needs the attribute `exec`"),
        (3, "launch:\n  - arg:\n      name: 5\n", "`name` of `arg` is 5, expected text"),
        (3, "launch:\n  - executable:\n      cmd: a $(vaar x)\n", "unknown substitution"),
        (3, "launch:\n  - executable:\n      cmd: a $(var x)\n", "no such argument"),
        (4, "launch:\n  - executable:\n      cmd: a\n      if: maybe\n", "expected true, false, 1 or 0"),
        (
            4,
            "launch:\n  - executable:\n      cmd: a\n      respawn: true\n",
            "`respawn` of `executable` is True, expected text",
        ),
        (4, "launch:\n  - executable:\n      cmd: a\n      respawn_delay: 1\n", "expected a number with a point"),
        (4, "launch:\n  - executable:\n      cmd: a\n      on_exit: restart\n", "the only value is `shutdown`"),
        (4, "launch:\n  - executable:\n      cmd: a\n      output: teletype\n", "expected one of screen"),
        (3, "launch:\n  - include:\n      file: /nowhere/x.launch.yaml\n", "does not exist"),
        (2, "launch:\n  - arg: {name: needed}\n", "must be given as needed:="),
        (2, "launch:\n  - executable: {cmd: a, if: 'true', unless: 'true'}\n", "exclude each other"),
        (
            5,
            "launch:\n  - node:\n      pkg: lab\n      exec: echo\n      param: [{from: /no.yaml}]\n",
            "file /no.yaml does not exist",
        ),
        (2, "launch:\n  - node: {pkg: lab, exec: echo, param: [{name: p}]}\n", "either `value` or nested"),
        (2, "launch:\n  - node: {pkg: lab, exec: echo, param: [{name: p, value: [1, a]}]}\n", "mixes types"),
        (4, "launch:\n  - arg:\n      name: a\n      name: b\n", "stands here twice"),
        (3, "launch:\n  - arg: {name: a}\n - arg: {name: b}\n", "not valid YAML"),
        (1, "nodes: []\n", "has one root, `launch:`"),
        (3, "launch:\n  - group:\n    - node: {pkg: lab, exec: echo, colour: red}\n", "unknown attribute `colour`"),
    ],
)
def test_an_error_names_the_line(session, tmp_path, line, text, message):
    with pytest.raises(LaunchError, match=message) as caught:
        session(text)
    assert str(caught.value).startswith(f"{tmp_path / 'test.launch.yaml'}:{line}: ")


def test_an_error_behind_a_false_condition_is_found(session):
    with pytest.raises(LaunchError, match="unknown attribute"):
        session("launch: [{executable: {cmd: a, if: 'false', colour: red}}]")


def test_an_undeclared_argument_is_refused_with_the_known_ones(session):
    with pytest.raises(LaunchError, match="no argument `recrod` is declared; known: bags, record. Did you mean record"):
        session("launch: [{arg: {name: record, default: 'true'}}, {arg: {name: bags, default: b}}]", recrod="false")


def test_a_value_outside_the_choices_is_refused(session):
    with pytest.raises(LaunchError, match="`robot` is 'real', expected one of sim, external"):
        session("launch: [{arg: {name: robot, default: sim, choice: [{value: sim}, {value: external}]}}]", robot="real")


def test_a_launch_file_is_found_in_its_package(lab_package):
    assert packages.launch_file("lab", "echo.launch.yaml") == lab_package / "share/lab/echo.launch.yaml"
    with pytest.raises(packages.PackageError, match="it has echo.launch.yaml"):
        packages.launch_file("lab", "ecko.launch.yaml")
