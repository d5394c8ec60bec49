import asyncio
import collections
import copy
import dataclasses

import msgspec
import pytest

from agentgym import assistant, call, user
from agentgym.dialects import HERMES
from agentgym.sampling import Sample
from agentgym.tokens import Chat, Conversation
from agentgym_training.rows import PairRow, Row, from_divergence, pair_rows, rows, training_rows, unpaired_rows
from agentgym_trajectories import Rollout, Store
from agentgym_trajectories.pairs import Pair
from agentgym_trajectories.rollout import Memory
from agentgym_trajectories.tree import Episode, Node, Trajectory


def written_by(row: Row, chat: Chat) -> str:
    return chat.tokenizer.decode([i for i, w in zip(row.input_ids, row.weights, strict=True) if w])


def check(row: Row, trajectory: Trajectory, chat: Chat) -> None:
    """Weight stands on exactly what the agent wrote, ends of turns included."""
    assert len(row.input_ids) == len(row.weights)
    assert set(row.weights) == {0.0, 1.0}
    turns = [chat.dialect.render(n.messages[0]) + chat.turn_end for n in trajectory.actions]
    assert written_by(row, chat) == "".join(turns)


def test_messages_become_exact_masks(nano_chat, demonstrations):
    for trajectory in demonstrations[:20]:
        (row,) = rows(trajectory, nano_chat)
        check(row, trajectory, nano_chat)
        whole = nano_chat.render(trajectory.messages, trajectory.episode.tools, prompt=False)
        assert nano_chat.tokenizer.decode(row.input_ids) == whole


@pytest.mark.parametrize("flip", ["observation", "end of turn"])
def test_a_wrong_mask_is_caught(nano_chat, demonstrations, flip):
    (row,) = rows(demonstrations[0], nano_chat)
    at = row.weights.index(0.0) if flip == "observation" else len(row.weights) - 1
    weights = list(row.weights)
    weights[at] = 1.0 - weights[at]
    with pytest.raises(AssertionError):
        check(dataclasses.replace(row, weights=weights), demonstrations[0], nano_chat)


def with_ids(trajectory: Trajectory, chat: Chat, vocabulary: str) -> Trajectory:
    """The same trajectory as if a model had sampled it, in turns of more tokens than any encoder would write."""
    conversation, nodes = Conversation(chat, trajectory.episode.tools), []
    for node in trajectory.nodes:
        if node.kind == "observation":
            ids = conversation.observe(node.messages)[0]
        else:
            odd = [i for c in chat.dialect.render(node.messages[0]) for i in chat.encode(c)]
            ids = conversation.act(node.messages[0], [*odd, chat.turn_end_id])
        nodes.append(msgspec.structs.replace(node, token_ids=list(ids)))
    return Trajectory(msgspec.structs.replace(trajectory.episode, nodes=nodes, vocabulary=vocabulary), (tuple(nodes),))


def test_sampled_ids_are_kept_as_sampled(nano_chat, demonstrations):
    sampled = with_ids(demonstrations[0], nano_chat, nano_chat.vocabulary)
    (row,) = rows(sampled, nano_chat)
    assert row.input_ids == sampled.token_ids
    check(row, sampled, nano_chat)


def test_ids_of_another_vocabulary_are_not_taken(nano_chat, demonstrations):
    sampled = with_ids(demonstrations[0], nano_chat, "another")
    assert rows(sampled, nano_chat) == rows(demonstrations[0], nano_chat)


def test_a_rewritten_history_starts_a_new_row(nano_chat, demonstrations):
    forgetful = nano_chat.tokenizer.chat_template.replace(
        "{% if message.reasoning_content %}", "{% if message.reasoning_content and loop.last %}"
    )
    task = demonstrations[0].episode.task
    turns = (assistant("", call("a"), thinking="Hm."), assistant("Done.", thinking="So."))
    nodes = (
        Node(0, -1, "observation", (user("Go."),)),
        Node(1, 0, "action", turns[:1]),
        Node(2, 1, "observation", (user("And?"),)),
        Node(3, 2, "action", turns[1:]),
    )
    trajectory = Trajectory(Episode("x/Y-v0", task, 0, "oracle", nodes=list(nodes)), (nodes,))
    usual = nano_chat.tokenizer.chat_template
    try:
        nano_chat.tokenizer.chat_template = forgetful
        chat = Chat(nano_chat.tokenizer)
        first, second = rows(trajectory, chat)
    finally:
        nano_chat.tokenizer.chat_template = usual
    assert written_by(first, chat) == chat.dialect.render(turns[0]) + chat.turn_end
    assert written_by(second, chat) == chat.dialect.render(turns[1]) + chat.turn_end
    assert "Hm." not in chat.tokenizer.decode(second.input_ids)


def test_nothing_to_learn_is_no_row(nano_chat, demonstrations):
    first = demonstrations[0]
    assert rows(Trajectory(first.episode, (first.nodes[:1],)), nano_chat) == []


def test_rows_are_the_same_before_and_after_the_store(nano_chat, demonstrations, tmp_path):
    with Store(tmp_path, create=True) as store:
        for t in demonstrations:
            store.add(t.episode)
        stored = [rows(t, nano_chat) for t in store.trajectories()]
    assert stored == [rows(t, nano_chat) for t in demonstrations]


def test_a_policy_sees_at_run_time_what_it_was_trained_on(nano_dir, nano_chat, demonstrations):
    """The prompt of every turn of a live episode is a prefix of the training row of the same conversation."""

    class Gold:
        """Writes the oracle's turns in the model's tokens."""

        chat, version, context = nano_chat, "gold", None

        async def sample(self, requests):
            return [self.one(r) for r in requests]

        def one(self, request):
            message = request.env.oracle()
            ids = nano_chat.encode(HERMES.render(message) + nano_chat.turn_end)
            return Sample(nano_chat.parse(ids), ids, [0.0] * len(ids))

    sink = Memory()
    tasks = [t.episode.task for t in demonstrations]
    asyncio.run(Rollout("desk/Orders-v0", concurrency=1).run(tasks, Gold(), sink))
    for episode, demonstration in zip(sink.episodes, demonstrations, strict=True):
        (live,) = episode.trajectories()
        (row,) = rows(demonstration, nano_chat)
        assert live.success
        assert live.token_ids == row.input_ids
        assert [float(m) for m in live.action_mask] == row.weights


def test_a_node_that_two_paths_share_is_trained_once(nano_chat, demonstrations):
    forked = copy.deepcopy(demonstrations[0].episode)
    last = forked.nodes[-1]
    forked.add(last.parent, "action", (assistant("Something else."),), reward=0.0)
    one, other = training_rows(forked.trajectories(), nano_chat.tokenizer)
    (alone,) = rows(demonstrations[0], nano_chat)
    assert one == alone
    assert written_by(other, nano_chat) == "Something else." + nano_chat.turn_end
    (only,) = training_rows(forked.trajectories(), nano_chat.tokenizer, max_length=len(other.input_ids))
    shorter = one if len(one.input_ids) < len(other.input_ids) else other
    assert only.input_ids == shorter.input_ids
    assert sum(only.weights) > sum(other.weights)  # what was left out elsewhere keeps its weight here


# ---- preference pairs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forked(nano_chat, demonstrations):
    """A tree whose second action was tried twice; the second try is two turns long. All ids have logprobs."""
    one = next(t for t in demonstrations if len(t.actions) >= 2)
    sampled = with_ids(one, nano_chat, nano_chat.vocabulary)
    nodes = [
        msgspec.structs.replace(n, logprobs=[-0.1 * (n.id + 1)] * len(n.token_ids)) if n.kind == "action" else n
        for n in sampled.nodes
    ]
    episode = msgspec.structs.replace(sampled.episode, nodes=nodes[:4])
    said, told = assistant("Something else."), user("No.")
    extra = [[*nano_chat.encode(said.content), nano_chat.turn_end_id], nano_chat.encode("No.")]
    other = episode.add(2, "action", (said,), token_ids=extra[0], logprobs=[-2.0] * len(extra[0]))
    asked = episode.add(other.id, "observation", (told,), token_ids=extra[1])
    episode.add(asked.id, "action", (said,), token_ids=extra[0], logprobs=[-3.0] * len(extra[0]))
    return list(episode.trajectories())


def test_a_pair_is_exact_and_its_shared_actions_have_no_weight(forked, nano_chat):
    better, worse = forked
    (row,) = pair_rows([Pair(better, worse, first=1, margin=1.0, confidence=0.8)], nano_chat.tokenizer)
    assert row.smoothing == pytest.approx(0.2)
    for side, trajectory in ((row.chosen, better), (row.rejected, worse)):
        assert side.input_ids == trajectory.token_ids
        counted = [(n.kind == "action" and n is not trajectory.actions[0]) for n in trajectory.nodes for _ in n.token_ids]
        assert side.weights == [float(c) for c in counted]
        assert side.logprobs == [p for n in trajectory.nodes for p in n.logprobs or [0.0] * len(n.token_ids)]
    assert set(row.chosen.logprobs) == {0.0, -0.1 * 2, -0.1 * 4}


def test_a_pair_may_end_at_an_inner_action(forked, nano_chat):
    better, worse = forked
    (branch,) = worse.branches
    inner = Trajectory(worse.episode, (branch[:4],))
    (row,) = pair_rows([Pair(better, inner, first=1, margin=1.0)], nano_chat.tokenizer)
    assert row.rejected.input_ids == inner.token_ids
    assert written_by(row.rejected, nano_chat) == "Something else." + nano_chat.turn_end
    assert row.smoothing == 0


def test_labels_are_never_more_likely_wrong_than_right(forked, nano_chat):
    (row,) = pair_rows([Pair(*forked, first=1, margin=1.0, confidence=0.1)], nano_chat.tokenizer)
    assert row.smoothing == 0.5


def test_pairs_that_are_too_long_are_left_out(forked, nano_chat):
    lengths = sorted(len(t.token_ids) for t in forked)
    pair = Pair(*forked, first=1, margin=1.0)
    assert len(pair_rows([pair], nano_chat.tokenizer, max_length=lengths[1])) == 1
    assert pair_rows([pair], nano_chat.tokenizer, max_length=lengths[0]) == []


def test_sides_that_are_the_same_are_left_out(forked, nano_chat):
    assert pair_rows([Pair(forked[0], forked[0], first=1, margin=1.0)], nano_chat.tokenizer) == []


def test_sides_with_nothing_of_their_own_are_left_out(forked, nano_chat):
    assert pair_rows([Pair(*forked, first=2, margin=1.0)], nano_chat.tokenizer) == []


def test_what_was_not_logged_or_is_rendered_anew_has_no_logprobs(forked, nano_chat, demonstrations):
    better, worse = forked
    unlogged = copy.deepcopy(better.episode)
    unlogged.nodes[3] = msgspec.structs.replace(unlogged.nodes[3], logprobs=None)
    bare = next(unlogged.trajectories())
    (row,) = pair_rows([Pair(bare, worse, first=1, margin=1.0)], nano_chat.tokenizer)
    assert row.chosen.logprobs is None
    assert row.rejected.logprobs is not None
    (row,) = pair_rows([Pair(bare, worse, first=1, margin=1.0)], nano_chat.tokenizer)
    unlogged.nodes[1] = msgspec.structs.replace(unlogged.nodes[1], logprobs=None)
    unlogged.nodes[3] = msgspec.structs.replace(unlogged.nodes[3], logprobs=better.episode.nodes[3].logprobs)
    (row,) = pair_rows([Pair(next(unlogged.trajectories()), worse, first=1, margin=1.0)], nano_chat.tokenizer)
    assert row.chosen.logprobs is not None  # the action without logprobs carries no loss
    other = Trajectory(msgspec.structs.replace(better.episode, vocabulary="another"), better.branches)
    (row,) = pair_rows([Pair(other, worse, first=1, margin=1.0)], nano_chat.tokenizer)
    assert row.chosen.logprobs is None
    assert row.chosen.input_ids != better.token_ids


def test_only_the_last_branch_of_a_rewritten_history_is_used(forked, nano_chat):
    """An agent that has acted twice: once before the template rewrote the history, once after."""
    better, _ = forked
    told, said = (user("Go."),), assistant("One.")
    ids = [*nano_chat.encode("One."), nano_chat.turn_end_id]
    episode = msgspec.structs.replace(better.episode, nodes=[])
    episode.add(-1, "observation", told, token_ids=[5, 6])
    episode.add(0, "action", (said,), token_ids=ids, logprobs=[-1.0] * len(ids))
    episode.add(-1, "observation", (*told, said, user("And?")), token_ids=[5, 6, 7], continues=1)
    episode.add(2, "action", (said,), token_ids=ids, logprobs=[-1.0] * len(ids))
    (twice,) = episode.trajectories()
    assert len(twice.branches) == 2
    assert pair_rows([Pair(twice, better, first=0, margin=1.0)], nano_chat.tokenizer) == []
    (row,) = pair_rows([Pair(twice, better, first=1, margin=1.0)], nano_chat.tokenizer)
    assert row.chosen.input_ids == [5, 6, 7, *ids]
    assert row.chosen.weights == [0.0] * 3 + [1.0] * len(ids)


def test_loss_from_the_first_id_that_differs():
    chosen, rejected = Row([1, 2, 3, 4, 5], [0, 1, 1, 0, 1], [0, -1, -1, 0, -1]), Row([1, 2, 3, 9, 5, 6], [0, 1, 1, 1, 1, 1])
    cut = from_divergence(PairRow(chosen, rejected, 0.1))
    assert cut.chosen == dataclasses.replace(chosen, weights=[0, 0, 0, 0, 1])
    assert cut.rejected == dataclasses.replace(rejected, weights=[0, 0, 0, 1, 1, 1])
    assert cut.smoothing == 0.1
    assert not any(from_divergence(PairRow(chosen, chosen)).chosen.weights)


def test_unpaired_successes_and_failures_are_balanced(nano_chat, demonstrations):
    lost = [
        Trajectory(e, (e.nodes,))
        for e in (
            msgspec.structs.replace(t.episode, nodes=(*t.nodes[:-1], msgspec.structs.replace(t.leaf, success=False)))
            for t in demonstrations[:3]
        )
    ]
    won = demonstrations[3:10]
    made = unpaired_rows([*lost, *won], nano_chat.tokenizer)
    sides = {"won": [r for t in won for r in rows(t, nano_chat)], "lost": [r for t in lost for r in rows(t, nano_chat)]}
    assert sorted(p.chosen.input_ids for p in made) == sorted(r.input_ids for r in sides["won"])  # each once
    assert {tuple(p.rejected.input_ids) for p in made} == {tuple(r.input_ids) for r in sides["lost"]}
    times = collections.Counter(tuple(p.rejected.input_ids) for p in made).values()
    assert max(times) - min(times) <= 1  # the rarer kind as evenly as can be
    assert made == unpaired_rows([*lost, *won], nano_chat.tokenizer)
    assert made != unpaired_rows([*lost, *won], nano_chat.tokenizer, seed=1)
    assert unpaired_rows(won, nano_chat.tokenizer) == []
    assert unpaired_rows([*lost, *won], nano_chat.tokenizer, max_length=3) == []


def test_actions_that_paths_share_count_for_neither(nano_chat, demonstrations):
    t = demonstrations[0]
    last = msgspec.structs.replace(t.leaf, id=len(t.nodes), success=False)
    episode = msgspec.structs.replace(t.episode, nodes=[*t.nodes, last])
    paths = list(episode.trajectories())
    assert [p.success for p in paths] == [True, False]
    (pair,) = unpaired_rows(paths, nano_chat.tokenizer)
    turn = nano_chat.dialect.render(t.leaf.messages[0]) + nano_chat.turn_end
    assert written_by(pair.chosen, nano_chat) == written_by(pair.rejected, nano_chat) == turn
