"""tools/Tau-v0: published final states, the tools by hand-worked examples, the layout, whoever plays the user."""

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentgym import Message, SamplerFailure, ToolCall, ToolError, UserError, assistant, call, make
from agentgym.checks import check_env, validate_env
from agentgym.cli.main import build_app
from agentgym.partners import Card, Line, Script, open_user
from agentgym.sampling import SampleRequest, Scripted
from agentgym_envs.tools.tau import own
from agentgym_envs.tools.tau.airline import Airline, Passenger, Payment, Segment
from agentgym_envs.tools.tau.domain import goal
from agentgym_envs.tools.tau.env import Tau
from agentgym_envs.tools.tau.files import load_domain
from agentgym_envs.tools.tau.retail import Retail
from agentgym_envs.tools.tau.tables import Tables
from agentgym_envs.tools.tau.toolkit import AgentToolkit, Calculator

DATA = f"{os.environ.get('AGENTGYM_DATA')}/tau2_bench"
needs_data = pytest.mark.skipif("AGENTGYM_DATA" not in os.environ, reason="AGENTGYM_DATA is not set")


def finish(env: Tau, actions: Sequence[Any]) -> dict[str, Any]:
    """Take actions, then say that it is done."""
    info: dict[str, Any] = {}
    for action in (*actions, "Done."):
        *_, terminated, _, info = env.step(action)
        if terminated:
            return info
    raise AssertionError("it goes on")


def floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: floats(v) for k, v in value.items()}
    if isinstance(value, list):
        return [floats(v) for v in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


# ---- as published ----------------------------------------------------------------------------------------------------------


@needs_data
def test_gold_actions_of_retail_reach_the_published_final_states() -> None:
    """The digests are of what tau2-bench's own tools (commit a2c0247) leave changed in its database, row by row."""
    published = json.loads((Path(__file__).parent / "golden/tau2_retail_states.json").read_text())
    loaded = load_domain(f"{DATA}/retail")
    reached = {}
    for task in loaded.tasks:
        rows, users = goal(loaded.domain, task)
        assert users == {}
        text = json.dumps(floats(rows), sort_keys=True)
        reached[task.id.removeprefix("retail-")] = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    assert len(reached) == 114
    assert reached == published


@needs_data
def test_the_oracle_solves_retail_and_doing_nothing_the_stated_floor() -> None:
    env = Tau(f"{DATA}/retail")
    assert [len(env.tasks(s)) for s in ("train", "validation", "test")] == [74, 0, 40]
    found = validate_env(env, None, None)
    assert (found.tasks, found.gold_passed, found.floor_passed) == (114, 114, 11)
    assert env.floor == 11 / 114
    env.close()
    shown = CliRunner().invoke(build_app(), ["env", "show", "tools/Tau-v0", "--env-arg", f"data={DATA}/retail"])
    assert "doing nothing solves 9.6%" in shown.output


@needs_data
def test_mock_loads_with_its_histories_initial_data_and_the_users_own_database() -> None:
    env = Tau(f"{DATA}/mock")
    found = validate_env(env, None, None)
    # One has assertions and no actions; the other asserts that the user's box is as its database must not become.
    assert found.gold_failed == ("mock-update_task_with_user_tools", "mock-update_task_with_history_and_env_assertions")
    opening, _ = env.reset(options={"task": "mock-update_task_with_message_history"})
    assert [m.role for m in opening.messages] == ["system", "user"]
    assert "This was said before:" in opening.messages[1].content
    assert env.state.rows["tasks"]["task_2"]["title"] == "Project Review"
    env.reset(options={"task": "mock-update_task_with_initialization_data"})
    assert env.state.rows["users"]["user_1"] == {"user_id": "user_1", "name": "Test User", "tasks": ["task_1", "task_2"]}
    env.reset(options={"task": "mock-update_task_with_user_tools"})
    assert env.state.user_rows["notifications"]["notif_1"]["message"] == "Task 'Test task' has been assigned to you."
    info = finish(env, [assistant("", call("update_task_status", task_id="task_1", status="completed"))])
    assert info["rewards"] == {"solved": 0.0, "database": 1.0, "communicate": 1.0, "actions": 1.0, "assertions": 0.0}
    env.reset(options={"task": "mock-impossible_task_1"})  # compare_args is empty: the name alone counts
    assert finish(env, [assistant("", call("transfer_to_human_agents", summary="x"))])["success"]
    env.reset(options={"task": "mock-impossible_task_1"})
    assert not finish(env, [])["success"]
    env.close()


@needs_data
def test_every_step_away_from_the_gold_state_counts() -> None:
    env = Tau(f"{DATA}/retail")
    gold = env.find_task("retail-0").data["criteria"]["actions"]
    calls = [assistant("", ToolCall(a["name"], a["arguments"])) for a in gold]

    def changed(**arguments: Any) -> Message:
        return assistant("", ToolCall(gold[-1]["name"], gold[-1]["arguments"] | arguments))

    moved = {"user_id": "yusuf_rossi_9620", "zip": "1"} | dict.fromkeys(("address1", "address2", "city", "state", "country"), "x")
    tries = {
        "gold": (calls, True),
        "the change alone": (calls[-1:], True),
        "what was to be changed, and nothing else": (calls[:-1], False),
        "another way to pay": ([changed(payment_method_id="paypal_0")], False),
        "one item of two": ([changed(item_ids=["1151293680"], new_item_ids=["7706410293"])], False),
        "items in another order": ([changed(item_ids=["4983901480", "1151293680"])], False),
        "both in another order": (
            [changed(item_ids=["4983901480", "1151293680"], new_item_ids=["7747408585", "7706410293"])],
            True,
        ),
        "refused first": ([assistant("", call("cancel_pending_order", order_id="#W2378156", reason="x")), *calls], True),
        "something else as well": (
            [*calls, assistant("", call("modify_user_address", **moved))],
            False,
        ),
    }
    for what, (actions, solved) in tries.items():
        env.reset(options={"task": "retail-0"})
        assert finish(env, actions)["success"] is solved, what
    env.close()


@needs_data
def test_words_that_have_to_be_said_are_a_part() -> None:
    env = Tau(f"{DATA}/retail")
    task = next(t for t in env.tasks() if t.data["criteria"]["communicate_info"] and t.data["criteria"]["reward_basis"])
    for words, expected in (("Nothing.", 0.0), (" ".join(task.data["criteria"]["communicate_info"]), 1.0)):
        env.reset(options={"task": task})
        assert env.step(words)[-1]["rewards"]["communicate"] == expected
    env.close()


def test_conformance() -> None:
    assert not [check for check in check_env("tools/Tau-v0", tasks=3) if not check.ok]


def test_the_own_shop_needs_every_kind_of_change() -> None:
    env = make("tools/Tau-v0")
    kinds = {t.data["criteria"]["actions"][-1]["name"] for t in env.tasks()[:60]}
    assert len(kinds) == 5
    assert validate_env(env, "test", 30).gold_passed == 30
    env.close()


# ---- the layout ----------------------------------------------------------------------------------------------------------------


TASK = {
    "id": "a",
    "user_scenario": {"persona": "Curt.", "instructions": "I want a task called X for u."},
    "evaluation_criteria": {"actions": [{"name": "create_task", "arguments": {"user_id": "u", "title": "X"}}]},
}
DB: dict[str, Any] = {"tasks": {}, "users": {"u": {"user_id": "u", "name": "U", "tasks": []}}}


def write(folder: Path, db: Any = DB, tasks: Any = (TASK,), **splits: list[str]) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "db.json").write_text(json.dumps(db))
    (folder / "tasks.json").write_text(json.dumps(list(tasks)))
    (folder / "policy.md").write_text("Serve.")
    if splits:
        (folder / "split_tasks.json").write_text(json.dumps(splits))
    return str(folder)


def test_any_domain_of_the_layout_loads_whatever_its_folder_is_called(tmp_path: Path) -> None:
    env = Tau(write(tmp_path / "todo", tasks=[TASK, TASK | {"id": "b"}], train=["b"], test=["a"], base=["a", "b"]))
    assert [[t.id for t in env.tasks(s)] for s in ("train", "test")] == [["todo-b"], ["todo-a"]]
    assert validate_env(env, None, None).gold_passed == 2
    assert env.tasks("test")[0].data["user"] == {"opening": "I want a task called X for u.", "persona": "Curt."} | {
        "goal": "I want a task called X for u."
    }
    env.close()


class Clinic(AgentToolkit):
    """Tools that tests give to a domain nobody knows."""

    def discharge(self, patient: str) -> str:
        """Discharge a patient."""
        self.find("patients", patient, "Patient")
        self.db.edit("patients", patient)["home"] = True
        return "done"

    discharge.__agentgym_tool__ = True  # type: ignore[attr-defined]


def test_a_domain_with_tools_of_its_own(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {"patients": {"p": {"home": False}}},
        [TASK | {"evaluation_criteria": {"actions": [{"name": "discharge", "arguments": {"patient": "p"}}]}}],
        train=["a"],
    )
    with pytest.raises(UserError, match="tables patients, whose tools are not known here"):
        Tau(folder)
    env = Tau(folder, tools=f"{__name__}:Clinic")
    assert validate_env(env).gold_passed == 1
    env.close()
    for tools, message in (
        (f"{__name__}:Nobody", "there are no tools"),
        (f"{__name__}:Tau", "is no subclass"),
        ("x", "no tools"),
    ):
        with pytest.raises(UserError, match=message):
            Tau(folder, tools=tools)
    with pytest.raises(UserError, match="belongs to a domain"):
        Tau(tools="x:Y")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("db.json", "{", "db.json is not of tau2-bench's layout"),
        ("db.json", '{"tasks": [], "users": {}}', "db.json is not of tau2-bench's layout"),
        ("tasks.json", "[]", "has no tasks"),
        ("tasks.json", '[{"id": "a"}]', "task 0: KeyError: 'user_scenario'"),
        ("tasks.json", json.dumps([TASK, TASK]), "a second task 'a'"),
        ("tasks.json", json.dumps([TASK | {"evaluation_criteria": {"actions": [{"name": "x"}]}}]), "do not fit its tools"),
        ("user_db.json", '{"strange": {}}', "tables strange, whose tools are not known"),
        ("split_tasks.json", '{"train": 1}', "split_tasks.json is not of"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = write(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        Tau(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no db\.json: a domain's folder holds db\.json, policy\.md, tasks\.json"):
        Tau(str(tmp_path))
    write(tmp_path / "inner")
    with pytest.raises(UserError, match="give one of its domains: inner"):
        Tau(str(tmp_path))


# ---- retail's tools by hand ------------------------------------------------------------------------------------------------------


def shop() -> dict[str, Any]:
    def variant(number: str, price: float, available: bool = True) -> dict[str, Any]:
        return {"item_id": number, "options": {"size": number}, "available": available, "price": price}

    def order(number: str, status: str, items: list[tuple[str, float]], method: str) -> dict[str, Any]:
        held = [{"name": "cup", "product_id": "p", "item_id": i, "price": x, "options": {"size": i}} for i, x in items]
        total = {"transaction_type": "payment", "amount": sum(x for _, x in items), "payment_method_id": method}
        return {"order_id": number, "user_id": "u", "status": status, "items": held, "payment_history": [total], "address": {}}

    methods = {"card": {"source": "credit_card", "id": "card"}, "gift": {"source": "gift_card", "id": "gift", "balance": 5.1}}
    methods["paypal"] = {"source": "paypal", "id": "paypal"}
    user = {
        "user_id": "u",
        "name": {"first_name": "Ann", "last_name": "Bo"},
        "email": "a@b.c",
        "address": {"zip": "1"},
        "payment_methods": methods,
        "orders": ["#1", "#2", "#3"],
    }
    variants = [variant("1", 10.1), variant("2", 12.3), variant("3", 9.0), variant("4", 1.0, available=False), variant("5", 99.0)]
    return {
        "products": {"p": {"name": "cup", "product_id": "p", "variants": {v["item_id"]: v for v in variants}}},
        "users": {"u": user},
        "orders": {
            "#1": order("#1", "pending", [("1", 10.1), ("2", 12.3), ("1", 10.1)], "gift"),
            "#2": order("#2", "delivered", [("1", 10.1), ("2", 12.3)], "card"),
            "#3": order("#3", "pending", [("3", 9.0)], "card"),
        },
    }


@pytest.fixture
def retail() -> Retail:
    tables = Tables(shop())
    return Retail(lambda: tables)


def test_cancelling_gives_back_what_was_paid(retail: Retail) -> None:
    order = retail.cancel_pending_order("#1", "no longer needed")
    assert order["status"] == "cancelled"
    assert order["payment_history"][1] == {"transaction_type": "refund", "amount": 32.5, "payment_method_id": "gift"}
    assert retail.get_user_details("u")["payment_methods"]["gift"]["balance"] == 37.6
    assert set(retail.db.difference()) == {"orders", "users"}


def test_modified_items_get_the_last_ones_price_as_published(retail: Retail) -> None:
    order = retail.modify_pending_order_items("#1", ["1", "2"], ["2", "3"], "gift")
    # The first "1" becomes "2"; then the first "2", which is that very item, becomes "3".
    assert [(i["item_id"], i["price"]) for i in order["items"]] == [("3", 9.0), ("2", 12.3), ("1", 10.1)]
    assert order["status"] == "pending (item modified)"
    last = order["payment_history"][-1]
    assert (last["transaction_type"], last["amount"]) == ("refund", pytest.approx(1.1))
    assert retail.get_user_details("u")["payment_methods"]["gift"]["balance"] == 6.2


def test_exchanges_returns_and_payments(retail: Retail) -> None:
    order = retail.exchange_delivered_order_items("#2", ["2", "1"], ["3", "2"], "card")
    assert (order["status"], order["exchange_items"], order["exchange_new_items"]) == (
        "exchange requested",
        ["1", "2"],
        ["2", "3"],
    )
    assert order["exchange_price_difference"] == -1.1
    paid = retail.modify_pending_order_payment("#3", "paypal")["payment_history"]
    assert [(p["transaction_type"], p["payment_method_id"]) for p in paid[1:]] == [("payment", "paypal"), ("refund", "card")]
    assert retail.modify_user_address("u", "1 A", "", "B", "C", "D", "2")["address"]["zip"] == "2"
    assert retail.modify_pending_order_address("#3", "1 A", "", "B", "C", "D", "2")["address"]["city"] == "B"
    assert retail.find_user_id_by_name_zip("ANN", "bo", "2") == "u"
    assert retail.find_user_id_by_email("A@B.c") == "u"
    assert json.loads(retail.list_all_product_types()) == {"cup": "p"}
    assert retail.get_item_details("5")["price"] == 99.0
    assert retail.get_product_details("p")["name"] == "cup"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("get_order_details", ["#9"], "Order not found"),
        ("get_item_details", ["9"], "Item not found"),
        ("find_user_id_by_email", ["x"], "User not found"),
        ("find_user_id_by_name_zip", ["Ann", "Bo", "9"], "User not found"),
        ("cancel_pending_order", ["#2", "no longer needed"], "Non-pending order cannot be cancelled"),
        ("cancel_pending_order", ["#1", "because"], "Invalid reason"),
        ("return_delivered_order_items", ["#1", ["1"], "gift"], "Non-delivered"),
        ("return_delivered_order_items", ["#2", ["1"], "paypal"], "should be the original payment method"),
        ("return_delivered_order_items", ["#2", ["1", "1"], "gift"], "Some item not found"),
        ("exchange_delivered_order_items", ["#1", ["1"], ["2"], "card"], "Non-delivered"),
        ("exchange_delivered_order_items", ["#2", ["3"], ["2"], "card"], "Number of 3 not found"),
        ("exchange_delivered_order_items", ["#2", ["1"], [], "card"], "should match"),
        ("exchange_delivered_order_items", ["#2", ["1"], ["9"], "card"], "Variant not found"),
        ("exchange_delivered_order_items", ["#2", ["1"], ["4"], "card"], "not found or available"),
        ("exchange_delivered_order_items", ["#2", ["1"], ["5"], "gift"], "Insufficient gift card balance"),
        ("exchange_delivered_order_items", ["#2", ["1"], ["2"], "nobody"], "Payment method not found"),
        ("modify_pending_order_items", ["#2", ["1"], ["2"], "card"], "Non-pending"),
        ("modify_pending_order_items", ["#1", ["3"], ["2"], "card"], "3 not found"),
        ("modify_pending_order_items", ["#1", ["1"], ["1"], "card"], "should be different"),
        ("modify_pending_order_items", ["#1", ["1"], [], "card"], "should match"),
        ("modify_pending_order_items", ["#1", ["1", "1", "2"], ["2", "2", "9"], "card"], "Variant not found"),
        ("modify_pending_order_items", ["#1", ["1"], ["5"], "gift"], "Insufficient gift card balance"),
        ("modify_pending_order_address", ["#2", "", "", "", "", "", ""], "Non-pending"),
        ("modify_pending_order_payment", ["#3", "card"], "should be different from the current one"),
        ("modify_pending_order_payment", ["#3", "gift"], "Insufficient gift card balance"),
        ("modify_user_address", ["x", "", "", "", "", "", ""], "User not found"),
    ],
)
def test_what_is_refused_changes_nothing(retail: Retail, name: str, arguments: list[Any], message: str) -> None:
    with pytest.raises(ToolError, match=message):
        getattr(retail, name)(*arguments)
    assert retail.db.difference() == {}
    assert retail.db.base == shop()


def test_an_order_is_paid_anew_only_once(retail: Retail) -> None:
    retail.modify_pending_order_payment("#3", "paypal")
    with pytest.raises(ToolError, match="exactly one payment"):
        retail.modify_pending_order_payment("#3", "card")


@pytest.mark.parametrize(
    ("text", "value"), [("2 + 2", "4.0"), ("(1.005 - 3) * -2", "3.99"), ("7/3", "2.33"), ("7 // 2", "3.0"), ("2 ** 10", "1024.0")]
)
def test_calculator(text: str, value: str) -> None:
    assert Calculator(lambda: Tables({})).calculate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "1/0",
        "9**9**9",
        "__import__('os')",
        "1e9",
        "2 ** 99",
        "(" * 5000,
        "9" * 5000,
        "10 ** 60 * 10 ** 60",
        "(-8) ** .5",
    ],
)
def test_what_cannot_be_calculated_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match="Invalid"):
        Calculator(lambda: Tables({})).calculate(text)


# ---- the airline's tools by hand --------------------------------------------------------------------------------------------------


def airline_tables() -> dict[str, Any]:
    def flight(number: str, origin: str, to: str, leaves: str, arrives: str, **dates: Any) -> dict[str, Any]:
        ends = {"flight_number": number, "origin": origin, "destination": to}
        return ends | {"scheduled_departure_time_est": leaves, "scheduled_arrival_time_est": arrives, "dates": dates}

    def free(seats: int, price: int) -> dict[str, Any]:
        each = dict.fromkeys(("business", "economy", "basic_economy"), seats)
        return {"status": "available", "available_seats": each, "prices": dict.fromkeys(each, price)}

    day = "2024-05-20"
    flights = [
        flight("A1", "JFK", "ORD", "08:00:00", "10:00:00", **{day: free(2, 100), "2024-05-21": {"status": "cancelled"}}),
        flight("A2", "ORD", "SFO", "11:00:00", "14:00:00", **{day: free(2, 150)}),
        flight("A3", "ORD", "SFO", "09:00:00", "12:00:00", **{day: free(9, 150)}),
        flight("A4", "JFK", "ORD", "22:00:00", "01:00:00+1", **{day: free(9, 50)}),
        flight("A5", "ORD", "SFO", "03:00:00", "05:00:00", **{"2024-05-21": free(9, 40)}),
    ]
    methods = {"card": {"source": "credit_card", "id": "card"}, "gift": {"source": "gift_card", "id": "gift", "amount": 120}}
    methods["cert"] = {"source": "certificate", "id": "cert", "amount": 80}
    booked = {"origin": "JFK", "destination": "ORD", "flight_number": "A1", "date": day, "price": 90}
    reservation = {
        "reservation_id": "R",
        "user_id": "u",
        "cabin": "economy",
        "flights": [booked],
        "passengers": [{"first_name": "A", "last_name": "B", "dob": "2000-01-01"}],
        "payment_history": [{"payment_id": "card", "amount": 90}],
        "total_baggages": 1,
        "nonfree_baggages": 0,
    }
    return {
        "flights": {f["flight_number"]: f for f in flights},
        "users": {"u": {"user_id": "u", "payment_methods": methods, "reservations": ["R"]}},
        "reservations": {"R": reservation},
    }


@pytest.fixture
def airline() -> Airline:
    tables = Tables(airline_tables())
    return Airline(lambda: tables)


def book(airline: Airline, flights: list[str], payments: dict[str, int], heads: int = 1, **more: Any) -> Any:
    given = {"total_baggages": 2, "nonfree_baggages": 1, "insurance": "yes"} | more
    return airline.book_reservation(
        "u",
        "JFK",
        "SFO",
        "one_way",
        "economy",
        [Segment(flight_number=f, date="2024-05-20") for f in flights],
        [Passenger(first_name="A", last_name=str(i), dob="2000-01-01") for i in range(heads)],
        [Payment(payment_id=k, amount=v) for k, v in payments.items()],
        **given,
    )


def test_booking_takes_seats_and_money(airline: Airline) -> None:
    made = book(airline, ["A1", "A2"], {"cert": 80, "gift": 100, "card": 430}, heads=2)  # 2 * (250 + 30) + 50
    assert (made["reservation_id"], made["created_at"]) == ("HATHAT", "2024-05-15T15:00:00")
    user = airline.get_user_details("u")
    assert user["reservations"] == ["R", "HATHAT"]
    assert set(user["payment_methods"]) == {"card", "gift"}
    assert user["payment_methods"]["gift"]["amount"] == 20
    assert airline.search_direct_flight("JFK", "ORD", "2024-05-20")[0]["available_seats"]["economy"] == 0
    assert book(airline, ["A3"], {"card": 230})["reservation_id"] == "HATHAU"


def test_searching_and_status(airline: Airline) -> None:
    found = airline.search_onestop_flight("JFK", "SFO", "2024-05-20")
    assert [(a["flight_number"], b["flight_number"], b["date"]) for a, b in found] == [
        ("A1", "A2", "2024-05-20"),
        ("A4", "A5", "2024-05-21"),
    ]
    assert airline.get_flight_status("A1", "2024-05-21") == "cancelled"
    assert len(airline.list_all_airports()) == 20


def test_changing_a_reservation(airline: Airline) -> None:
    same = [Segment(flight_number="A1", date="2024-05-20")]
    assert airline.update_reservation_flights("R", "economy", same, "card")["payment_history"] == [
        {"payment_id": "card", "amount": 90}
    ]
    made = airline.update_reservation_flights("R", "business", [*same, Segment(flight_number="A2", date="2024-05-20")], "card")
    assert made["payment_history"][-1] == {"payment_id": "card", "amount": 160}  # 100 + 150 - 90
    assert made["cabin"] == "business"
    assert airline.update_reservation_baggages("R", 3, 2, "gift")["payment_history"][-1]["amount"] == 100
    assert airline.get_user_details("u")["payment_methods"]["gift"]["amount"] == 20
    other = [Passenger(first_name="C", last_name="D", dob="1999-01-01")]
    assert airline.update_reservation_passengers("R", other)["passengers"][0]["first_name"] == "C"
    gone = airline.cancel_reservation("R")
    assert gone["status"] == "cancelled"
    assert [p["amount"] for p in gone["payment_history"]] == [90, 160, 100, -90, -160, -100]
    assert "certificate_3221322" in airline.send_certificate("u", 100)
    assert "certificate_3221323" in airline.send_certificate("u", 100)


def test_what_the_airline_refuses_changes_nothing(airline: Airline) -> None:
    day, two = "2024-05-20", [Passenger(first_name="A", last_name="B", dob="x")] * 2
    refused: list[tuple[str, Any]] = [
        ("User x not found", lambda: airline.get_user_details("x")),
        ("Reservation x not found", lambda: airline.cancel_reservation("x")),
        ("Flight x not found", lambda: airline.get_flight_status("x", day)),
        ("not found on date", lambda: airline.get_flight_status("A1", "2024-01-01")),
        ("Not enough seats", lambda: book(airline, ["A1"], {"card": 440}, heads=3)),
        ("does not add up, total price is 180, but paid 1", lambda: book(airline, ["A1"], {"card": 1})),
        ("Payment method x not found", lambda: book(airline, ["A1"], {"x": 180})),
        ("Not enough balance", lambda: book(airline, ["A1"], {"gift": 180})),
        ("Number of passengers", lambda: airline.update_reservation_passengers("R", two)),
        ("Certificate cannot be used", lambda: airline.update_reservation_baggages("R", 1, 1, "cert")),
        ("Payment method not found", lambda: airline.update_reservation_baggages("R", 1, 1, "x")),
        ("Gift card balance is not enough", lambda: airline.update_reservation_baggages("R", 9, 9, "gift")),
        (
            "not available on date",
            lambda: airline.update_reservation_flights("R", "economy", [Segment(flight_number="A1", date="2024-05-21")], "card"),
        ),
    ]
    for message, attempt in refused:
        with pytest.raises(ToolError, match=message):
            attempt()
        assert airline.db.difference() == {}


# ---- the user --------------------------------------------------------------------------------------------------------------------


def test_a_script_says_each_line_once_and_ends_when_it_is_not_asked() -> None:
    env = make("tools/Tau-v0")
    task = env.tasks()[0]
    card = Card("Hello.", (Line("I am Ann.", ("name",)), Line("Blue."), Line("Red.")), "Yes.")
    told = task.data | {"user": {"opening": card.opening, "default": "Yes.", "lines": [{"text": "I am Ann.", "on": ["name"]}]}}
    told["user"]["lines"] += [{"text": "Blue."}, {"text": "Red."}]
    observation, _ = env.reset(options={"task": type(task)("x", told, "t")})
    assert observation.messages[-1].content == "Hello."
    said = [env.step(x)[0].messages[0].content for x in ("Which?", "Your NAME?", "Your name?", "Sure?", "Sure?")]
    assert said == ["Blue.", "I am Ann.", "Red.", "Yes.", "Yes."]
    assert env.step("Done.")[2]
    env.close()


def test_any_sampler_plays_the_user_from_persona_and_goal() -> None:
    heard: list[SampleRequest] = []

    def person(request: SampleRequest) -> str:
        heard.append(request)
        return ("I want it cancelled.", "Yes.", "Thanks ###STOP###")[len(heard) - 1]

    env = Tau(user=Scripted(person))
    task = env.tasks()[0]
    observation, _ = env.reset(seed=3, options={"task": task})
    assert observation.messages[-1] == Message("user", "I want it cancelled.")
    seen, *_ = env.step("Really?")
    assert seen.messages == (Message("user", "Yes."),)
    snapshot = env.snapshot()
    assert env.step("It is done.")[2]
    roles = [(m.role, m.content) for m in heard[2].messages[1:]]
    assert roles == [("assistant", "I want it cancelled."), ("user", "Really?"), ("assistant", "Yes."), ("user", "It is done.")]
    assert task.data["user"]["goal"] in heard[0].messages[0].content
    assert len({r.seed for r in heard}) == 3
    env.restore(snapshot)
    assert env.said == ["Really?"]
    env.close()


def test_a_user_who_says_nothing_is_no_fault_of_the_agent() -> None:
    env = Tau(user=Scripted(lambda _: " "))
    with pytest.raises(SamplerFailure, match="said nothing"):
        env.reset(options={"task": env.tasks()[0]})
    env.close()


def test_users_are_named_like_policies() -> None:
    assert isinstance(open_user("script"), Script)
    with pytest.raises(UserError, match="'oracle' plays agents"):
        Tau(user="oracle")
    with pytest.raises(UserError, match="there is no policy 'nobody'"):
        Tau(user="nobody")


def test_states_are_rows_and_not_databases() -> None:
    env = make("tools/Tau-v0")
    task = next(t for t in env.tasks()[:50] if t.data["criteria"]["actions"][-1]["name"] == "cancel_pending_order")
    env.reset(options={"task": task})
    before = copy.deepcopy(own.domain(task).base)
    gold = task.data["criteria"]["actions"]
    env.step(assistant("", *[ToolCall(a["name"], a["arguments"]) for a in gold]))
    assert list(env.state.rows) == ["orders"]
    assert len(env.state.rows["orders"]) == 1
    assert own.domain(task).base == before
    env.close()
