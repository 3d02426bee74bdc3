from __future__ import annotations

import random

from jupyter_ext.jobs.admission import JOBS, Demand, Quota, Rules, Waiting, admit

ADA, BOB = "ada", "bob"


def alone(capacity: Demand) -> Rules:
    return Rules({ADA: capacity})


def jobs(*demands: Demand, owner: str = ADA, priority: int = 0) -> list[Waiting]:
    return [Waiting(f"{owner}-{number}", owner, demand, priority) for number, demand in enumerate(demands)]


def test_all_that_fits_starts_in_order() -> None:
    queue = jobs(*[{"CPU": 0.5}] * 3)
    assert admit(queue, [(ADA, {"CPU": 0.5})], alone({"CPU": 2})) == dict.fromkeys(["ada-0", "ada-1", "ada-2"])


def test_small_jobs_do_not_overtake_a_large_one() -> None:
    assert admit(jobs({"CPU": 2}, {"CPU": 1}), [(ADA, {"CPU": 1})], alone({"CPU": 2})) == {
        "ada-0": "Waiting for CPU: 1 of 2 in use, 2 asked for.",
        "ada-1": "Waiting in the queue.",
    }


def test_the_most_urgent_goes_first_and_among_equals_the_oldest() -> None:
    queue = [*jobs({"CPU": 1}, {"CPU": 1}), Waiting("urgent", ADA, {"CPU": 1}, 5), Waiting("too", ADA, {"CPU": 1}, 5)]
    decisions = admit(queue, [], alone({"CPU": 2}))
    assert list(decisions) == ["urgent", "too", "ada-0", "ada-1"]
    assert [decisions["urgent"], decisions["too"]] == [None, None]


def test_every_resource_counts() -> None:
    decision = admit(jobs({"CPU": 1, "memory": 5e9}), [(ADA, {"memory": 4e9})], alone({"CPU": 2, "memory": 8e9}))
    assert str(decision["ada-0"]).startswith("Waiting for memory")


def test_number_of_running_jobs_is_limited() -> None:
    decisions = admit(jobs({}, {}), [(ADA, {})], alone({"CPU": 1, JOBS: 2}))
    assert decisions == {"ada-0": None, "ada-1": "Waiting: 2 jobs are running, which is the limit."}


def test_thirds_add_up() -> None:
    assert set(admit(jobs(*[{"CPU": 1 / 3}] * 3), [], alone({"CPU": 1})).values()) == {None}


def test_users_do_not_wait_for_each_other_where_nothing_is_shared() -> None:
    queue = [*jobs({"CPU": 9}), *jobs({"CPU": 1}, owner=BOB)]
    decisions = admit(queue, [], Rules({ADA: {"CPU": 2}, BOB: {"CPU": 2}}))
    assert decisions["bob-0"] is None
    assert decisions["ada-0"] is not None


def test_a_quota_holds_below_the_cluster_and_names_itself() -> None:
    rules = Rules({ADA: {"GPU": 8}}, (Quota(ADA, frozenset({ADA}), {"GPU": 1, JOBS: 9}),))
    decisions = admit(jobs({"GPU": 1}, {"GPU": 1}), [], rules)
    assert decisions == {
        "ada-0": None,
        "ada-1": "Waiting for GPU in the quota of ada: 1 of 1 in use, 1 asked for.",
    }


def test_a_group_shares_its_quota_and_nobody_slips_past_who_waits_for_it() -> None:
    rules = Rules({ADA: {"GPU": 8}, BOB: {"GPU": 8}}, (Quota("lab", frozenset({ADA, BOB}), {"GPU": 4}),))
    queue = [*jobs({"GPU": 3}), *jobs({"GPU": 1}, owner=BOB)]
    decisions = admit(queue, [(BOB, {"GPU": 2})], rules)
    assert decisions["ada-0"] == "Waiting for GPU in the quota of lab: 2 of 4 in use, 3 asked for."
    assert decisions["bob-0"] == "Waiting behind others for the quota of lab."


def test_a_group_may_run_so_many_jobs_together() -> None:
    rules = Rules({ADA: {"CPU": 8}, BOB: {"CPU": 8}}, (Quota("lab", frozenset({ADA, BOB}), {JOBS: 3}),))
    queue = [*jobs({"CPU": 1}, {"CPU": 1}), *jobs({"CPU": 1}, owner=BOB)]
    decisions = admit(queue, [(BOB, {"CPU": 1})], rules)
    assert list(decisions.values()).count(None) == 2


def test_the_pool_goes_to_who_holds_the_smallest_share() -> None:
    rules = Rules({ADA: {"CPU": 9}, BOB: {"CPU": 9}}, pool={"CPU": 4})
    queue = [*jobs(*[{"CPU": 1}] * 4), *jobs(*[{"CPU": 1}] * 4, owner=BOB)]
    started = [name for name, obstacle in admit(queue, [], rules).items() if obstacle is None]
    assert sorted(started) == ["ada-0", "ada-1", "bob-0", "bob-1"]


def test_what_was_held_lately_and_weights_move_the_shares() -> None:
    capacity = {ADA: {"CPU": 9}, BOB: {"CPU": 9}}
    queue = [*jobs(*[{"CPU": 1}] * 4), *jobs(*[{"CPU": 1}] * 4, owner=BOB)]

    def started(rules: Rules) -> int:
        return sum(name.startswith(BOB) for name, obstacle in admit(queue, [], rules).items() if obstacle is None)

    assert started(Rules(capacity, pool={"CPU": 4}, recent={ADA: {"CPU": 2.5}})) == 3
    assert started(Rules(capacity, pool={"CPU": 4}, weights={BOB: 3.0})) == 3


def test_the_dominant_share_counts() -> None:
    # Ada's CPUs are a small part of all CPUs; Bob's one GPU is half of them.
    rules = Rules({ADA: {"CPU": 99}, BOB: {"CPU": 99, "GPU": 2}}, pool={"CPU": 100, "GPU": 2})
    queue = [*jobs({"CPU": 1}, owner=BOB), *jobs({"CPU": 1})]
    decisions = admit(queue, [(ADA, {"CPU": 20}), (BOB, {"GPU": 1})], rules)
    assert list(decisions) == ["ada-0", "bob-0"]


def test_nothing_is_ever_given_twice_and_the_first_of_each_queue_is_not_starved() -> None:
    rng = random.Random(0)
    for _ in range(200):
        owners = [f"user{number}" for number in range(rng.randint(1, 6))]
        capacity = {owner: {"CPU": rng.randint(1, 8), "GPU": rng.randint(0, 4)} for owner in owners}
        pool = {"CPU": rng.randint(2, 16), "GPU": rng.randint(0, 6)}
        queue = []
        for number in range(rng.randint(1, 40)):
            owner = rng.choice(owners)
            asked = {"CPU": float(rng.randint(0, 4)), "GPU": float(rng.randint(0, 2))}
            queue.append(Waiting(str(number), owner, asked, rng.randint(0, 2)))
        decisions = admit(queue, [], Rules(capacity, pool=pool))
        assert set(decisions) == {job.id for job in queue}
        started = [job for job in queue if decisions[job.id] is None]
        for name in ("CPU", "GPU"):
            assert sum(job.demand[name] for job in started) <= pool[name]
            for owner in owners:
                assert sum(job.demand[name] for job in started if job.owner == owner) <= capacity[owner][name]
