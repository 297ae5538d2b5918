"""A server that deviates learns no vector: sites refuse, or what they give says nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from umbel.learning.secure import shamir
from umbel.learning.secure.client import SecureClient, needed, own_mask_key, pair_mask_key
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.identities import identities
from umbel.learning.secure.masks import add_mask
from umbel.learning.secure.messages import Agreement, Keys, roster_digest
from umbel.learning.secure.server import SecureServer

SITES = [f"s{i}" for i in range(6)]
AGREEMENT = Agreement("run", 1, size=4, fewest=3, degree=5)
VECTORS = {site: np.full(4, i + 1, np.uint32) for i, site in enumerate(SITES)}


class Round:
    """A round up to some step, for a test to go on from."""

    def __init__(self, agreement=AGREEMENT):
        self.known = identities(SITES)
        self.agreement = agreement
        self.clients = {site: SecureClient(agreement, own) for site, own in self.known.items()}
        self.server = SecureServer(agreement)
        self.roster = self.server.roster(client.keys() for client in self.clients.values())

    def share(self):
        self.boxes = self.server.deliver(c.share(self.roster) for c in self.clients.values())
        return self

    def mask(self):
        self.share()
        self.masked = {s: c.mask(self.boxes[s], VECTORS[s]) for s, c in self.clients.items()}
        return self


def forged(keys):
    """The keys of a site with the server's own in their place."""
    mask = X25519PrivateKey.generate().public_key().public_bytes_raw()
    return replace(keys, mask=mask)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: {**r, "s1": forged(r["s1"])}, "keys of 's1' are not signed by it"),
        (lambda r: {**r, "s0": forged(r["s0"])}, "not hold the keys that we gave"),
        (lambda r: {**r, "s1": replace(r["s2"], site="s1")}, "keys of 's1' are not signed"),
        (lambda r: {**r, "s1": r["s2"]}, "keys of 's1' are not signed"),
        (
            lambda r: {**r, "ghost": Keys("ghost", b"a" * 32, b"b" * 32, b"c" * 32, b"d" * 64)},
            "'ghost' are not",
        ),
        (lambda r: {s: r[s] for s in ("s0", "s1")}, "There are 2 sites; agreed are at least 3"),
        (lambda r: {s: k for s, k in r.items() if s != "s0"}, "not hold the keys that we gave"),
    ],
    ids=["own key for s1", "own key for us", "s2 as s1", "s2 twice", "stranger", "few", "not us"],
)
def test_a_false_roster_is_refused(change, said):
    round_ = Round()
    with pytest.raises(SecureAggregationError, match=said):
        round_.clients["s0"].share(change(round_.roster))


def test_keys_of_another_round_or_run_are_refused():
    old = Round()
    for again in (replace(AGREEMENT, round=2), replace(AGREEMENT, run="other")):
        client = SecureClient(again, old.known["s0"])
        roster = {**old.roster, "s0": client.keys()}
        with pytest.raises(SecureAggregationError, match="keys of 's1' are not signed"):
            client.share(roster)


def test_changed_swapped_and_missing_shares_are_refused():
    def flipped(b):
        return {**b, "s1": b["s1"][:-1] + bytes([b["s1"][-1] ^ 1])}

    def swapped(b):
        return {**b, "s1": b["s2"], "s2": b["s1"]}

    for change, said in (
        (flipped, "shares of 's1' were changed"),
        (swapped, "shares of 's1' were changed"),
        (lambda b: {s: b[s] for s in ("s1", "s2", "s3")}, "Only 3 of 5 neighbours.*it takes 4"),
        (lambda b: {**b, "ghost": b["s1"]}, "'ghost' shares with us, but is no neighbour"),
    ):
        round_ = Round().share()
        with pytest.raises(SecureAggregationError, match=said):
            round_.clients["s0"].mask(change(round_.boxes["s0"]), VECTORS["s0"])


def test_a_share_sent_back_to_its_sender_is_refused():
    round_ = Round()
    sent = {s: c.share(round_.roster).sealed for s, c in round_.clients.items()}
    back = {other: sent["s0"][other] for other in sent["s0"]}
    with pytest.raises(SecureAggregationError, match="were changed"):
        round_.clients["s0"].mask(back, VECTORS["s0"])


def test_two_lists_of_survivors_open_nothing():
    # To half of the sites s5 is alive, to the others it is gone: both kinds of shares would do.
    round_ = Round().mask()
    lists = {s: SITES if s in ("s0", "s1", "s5") else SITES[:5] for s in SITES}
    signatures = {}
    for site in SITES:
        signatures[site] = round_.clients[site].confirm(lists[site]).signature
    for site in SITES:
        with pytest.raises(SecureAggregationError, match="have signed the same list"):
            round_.clients[site].open(signatures)


def test_a_site_signs_one_list_and_opens_once():
    round_ = Round().mask()
    signed = {s: c.confirm(SITES).signature for s, c in round_.clients.items()}
    client = round_.clients["s0"]
    with pytest.raises(SecureAggregationError, match="Asked to confirm, where open comes next"):
        client.confirm(SITES[:5])
    client.open(signed)
    with pytest.raises(SecureAggregationError, match="Asked to open, where nothing comes next"):
        client.open(signed)


def test_of_each_neighbour_one_secret_is_opened_never_both():
    round_ = Round().mask()
    alive = SITES[:5]
    signed = {s: round_.clients[s].confirm(alive).signature for s in alive}
    for site in alive:
        opened = round_.clients[site].open(signed)
        assert set(opened.own) == set(alive) - {site}
        assert set(opened.pairs) == {"s5"}
        assert not set(opened.own) & set(opened.pairs)


@pytest.mark.parametrize(
    ("survivors", "said"),
    [
        (SITES[:2], "would be of 2 sites; agreed are at least 3"),
        ([*SITES, "ghost"], "'ghost' survived, but was never there"),
        (SITES[1:], "not among the survivors"),
    ],
)
def test_a_list_of_survivors_that_can_not_be_is_refused(survivors, said):
    round_ = Round().mask()
    with pytest.raises(SecureAggregationError, match=said):
        round_.clients["s0"].confirm(survivors)


def test_a_survivor_who_never_shared_is_refused():
    # The server keeps s5's shares from s0 and says later that it is alive.
    round_ = Round().share()
    boxes = {s: b for s, b in round_.boxes["s0"].items() if s != "s5"}
    round_.clients["s0"].mask(boxes, VECTORS["s0"])
    with pytest.raises(SecureAggregationError, match="'s5' survived, but never shared with us"):
        round_.clients["s0"].confirm(SITES)


def test_forged_confirmations_do_not_count():
    round_ = Round().mask()
    signed = {s: c.confirm(SITES).signature for s, c in round_.clients.items()}
    false = dict.fromkeys(SITES, signed["s0"])  # s0's own, in the names of all
    with pytest.raises(SecureAggregationError, match="have signed the same list"):
        round_.clients["s0"].open(false)


def test_a_vector_that_came_but_is_said_to_be_lost_stays_masked():
    # All shares of the pairs' key of s5 are opened, so the server can take all its pairs' masks
    # off. The mask of its own stays.
    round_ = Round().mask()
    alive = SITES[:5]
    signed = {s: round_.clients[s].confirm(alive).signature for s in alive}
    opened = [round_.clients[s].open(signed) for s in alive]
    shares = {SITES.index(one.site) + 1: one.pairs["s5"] for one in opened}
    private = X25519PrivateKey.from_private_bytes(shamir.join(shares, needed(AGREEMENT, 5)))
    assert private.public_key().public_bytes_raw() == round_.roster["s5"].mask
    digest = roster_digest(AGREEMENT, round_.roster)
    bare = round_.masked["s5"].vector.copy()
    for site in alive:
        key = pair_mask_key(private, round_.roster[site].mask, digest, "s5", site)
        add_mask(bare, key, subtract=site > "s5")
    assert not (bare == VECTORS["s5"]).any()
    # That it is the own mask alone which is left: with its seed the vector is bare.
    add_mask(bare, own_mask_key(round_.clients["s5"]._seed, digest), subtract=True)
    assert bare.tolist() == VECTORS["s5"].tolist()
    assert all("s5" not in one.own for one in opened)


@pytest.mark.parametrize(
    ("false", "said"),
    [
        ({"pairs": {"s5": bytes(32)}}, "'s5' do not fit its public key"),
        ({"own": {site: bytes(32) for site in SITES[1:5]}}, "'s1' do not fit what it has promised"),
    ],
)
def test_a_false_share_is_noticed_by_the_server(false, said):
    round_ = Round().mask()
    alive = SITES[:5]
    round_.server.survivors(round_.masked[s] for s in alive)
    signed = {s: round_.clients[s].confirm(alive).signature for s in alive}
    opened = [round_.clients[s].open(signed) for s in alive]
    with pytest.raises(SecureAggregationError, match=said):
        round_.server.total([replace(opened[0], **false), *opened[1:]])
    exact = np.sum([VECTORS[s] for s in alive], axis=0, dtype=np.uint32)
    assert round_.server.total(opened).tolist() == exact.tolist()


def test_the_same_vector_is_masked_otherwise_each_time():
    one, other = Round().mask(), Round().mask()
    for site in SITES:
        assert not (one.masked[site].vector == other.masked[site].vector).any()
        assert not (one.masked[site].vector == VECTORS[site]).any()


def test_keys_of_masks_use_all_their_bits():
    # A popular implementation folds them to 32 bits, of which four are always zero.
    ors, ands = np.zeros(32, np.uint8), np.full(32, 255, np.uint8)
    own = X25519PrivateKey.generate()
    seen = set()
    for i in range(60):
        public = X25519PrivateKey.generate().public_key().public_bytes_raw()
        key = pair_mask_key(own, public, b"digest", "a", f"b{i}")
        seen.add(key)
        ors |= np.frombuffer(key, np.uint8)
        ands &= np.frombuffer(key, np.uint8)
    assert ors.tolist() == [255] * 32
    assert ands.tolist() == [0] * 32
    assert len(seen) == 60


@pytest.mark.parametrize(
    "vector", [np.zeros(5, np.uint32), np.zeros(4, np.int64), np.zeros((4, 1), np.uint32)]
)
def test_vectors_of_another_size_or_type_are_refused_at_both_ends(vector):
    round_ = Round().share()
    with pytest.raises(SecureAggregationError, match="agreed is uint32"):
        round_.clients["s0"].mask(round_.boxes["s0"], vector)
    masked = round_.clients["s1"].mask(round_.boxes["s1"], VECTORS["s1"])
    with pytest.raises(SecureAggregationError, match="'s1' gave"):
        round_.server.survivors([replace(masked, vector=vector)])


def test_what_comes_twice_or_uncalled_is_refused():
    round_ = Round().mask()
    with pytest.raises(SecureAggregationError, match="'s0' gave its keys twice"):
        SecureServer(AGREEMENT).roster([round_.roster["s0"]] * 2)
    with pytest.raises(SecureAggregationError, match="nobody waits for"):
        round_.server.survivors([round_.masked["s0"]] * 2)


def test_secrets_are_not_shown():
    round_ = Round().mask()
    seed = round_.clients["s0"]._seed
    for shown in (repr(round_.clients["s0"]), repr(round_.known["s0"]), repr(round_.masked["s0"])):
        assert seed.hex() not in shown
        assert repr(seed) not in shown
