"""Passwords: the form in which they are stored, the rules that carry them, and what a new one has to satisfy.

Stored is Argon2id over the SHA-256 of the password, so that `>password` and Redis's `#<64 hex digits>` lead to the same
form: `argon2id$v=19$m=65536,t=3,p=1$<salt>$<hash>`, base64 without padding. With a # in front SETUSER takes it back.
The passwords of one user share a salt while the cost stays the same: a log-in then costs one derivation however many
passwords the user has, and "used before" is a comparison of texts. Users do not share salts unless a form is copied.
Promise: no text made here holds a password or its SHA-256.
Units: memory in KiB; lengths in characters; history oldest first. All of `derive`, `matching` and `seal` is slow (0.2 s
of CPU for each salt at the default cost): never on the event loop (`engine.password_pool`).
Not here: who may log in and when (`engine.log_in`, `lockout`); where accounts are kept (`state.accounts`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ..limits import GIB, KIB

SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
RECIPES_MAX: Final = 8  # of one user: each costs every log-in of that user a derivation

# A form may come from anybody who may run SETUSER: it must not be able to ask for more than the machine has.
MEMORY_KIB_MAX: Final = GIB // KIB
ITERATIONS_MAX: Final = 100
LANES_MAX: Final = 16
WORK_MAX: Final = 4 * MEMORY_KIB_MAX  # memory times iterations; about 6 s

BAD_HASH: Final = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
BAD_FORM: Final = (
    "The password hash must be a form that ACL GETUSER or ACL LIST has shown: "
    "argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>"
)
TOO_MANY_RECIPES: Final = f"The passwords of one user may have at most {RECIPES_MAX} different salts"

_NAME: Final = "argon2id$"
_FORM: Final = re.compile(
    r"argon2id\$v=19\$m=([0-9]{1,8}),t=([0-9]{1,4}),p=([0-9]{1,3})\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})", re.ASCII
)
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEX_BYTES: Final = re.compile(rb"[0-9a-f]{64}")


class PasswordRefused(ValueError):
    """A password or a form that cannot be taken; str() explains without showing it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one derivation takes. The default has the memory and passes of RFC 9106's second choice.

    But one lane instead of four: more lanes are the same work on more threads, which others need; see also `_LANES`.
    """

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 1

    def problem(self) -> str:
        """Why nobody should pay this, or ""."""
        if not 1 <= self.lanes <= LANES_MAX:
            return f"between 1 and {LANES_MAX} lanes are possible"
        if not 8 * self.lanes <= self.memory_kib <= MEMORY_KIB_MAX:
            return f"between {8 * self.lanes} and {MEMORY_KIB_MAX} KiB are possible for {self.lanes} lanes"
        if not 1 <= self.iterations <= ITERATIONS_MAX or self.memory_kib * self.iterations > WORK_MAX:
            return f"between 1 and {min(ITERATIONS_MAX, WORK_MAX // self.memory_kib)} iterations are possible"
        return ""


# OpenSSL gives each lane a thread out of one pool. Two derivations that have got a part of their threads each wait for
# the rest for ever, or fail for want of memory that is there (seen with OpenSSL 4.0.3, cryptography 50): those with
# several lanes run one at a time.
_LANES: Final = threading.Lock()


class Recipe(NamedTuple):
    """Everything that decides what a password becomes."""

    cost: Cost
    salt: bytes

    def derive(self, digest: bytes) -> bytes:
        cost = self.cost
        if not cost.iterations:
            return digest
        argon2 = Argon2id(
            salt=self.salt, length=HASH_BYTES, iterations=cost.iterations, lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        )  # fmt: skip
        if cost.lanes == 1:
            return argon2.derive(digest)
        with _LANES:
            return argon2.derive(digest)


# A bare SHA-256, as Redis keeps it. `seal` leaves none; state that was written without it can still be read.
PLAIN: Final = Recipe(Cost(0, 0, 0), b"")


class Stored(NamedTuple):
    """A password as it is kept; str() is its form, and equal passwords of equal recipes have equal forms."""

    recipe: Recipe
    hash: bytes

    def __str__(self) -> str:
        cost, salt = self.recipe
        if self.recipe == PLAIN:
            return self.hash.hex()
        numbers = f"m={cost.memory_kib},t={cost.iterations},p={cost.lanes}"
        return f"{_NAME}v=19${numbers}${_base64(salt)}${_base64(self.hash)}"


def parse(form: str) -> Stored:
    """A form, which has one spelling only; raises PasswordRefused, with Redis's text unless it looks like Argon2."""
    match = _FORM.fullmatch(form)
    if match is None:
        if _HEX.fullmatch(form):
            return Stored(PLAIN, bytes.fromhex(form))
        raise PasswordRefused(BAD_FORM if form.startswith(_NAME) else BAD_HASH)
    cost = Cost(int(match[1]), int(match[2]), int(match[3]))
    if problem := cost.problem():
        raise PasswordRefused(f"The password hash cannot be used: {problem}")
    stored = Stored(Recipe(cost, _unbase64(match[4])), _unbase64(match[5]))
    if str(stored) != form:  # leading zeros, loose bits: two forms of one password would not be equal
        raise PasswordRefused(BAD_FORM)
    return stored


def digest_of(password: bytes) -> bytes:
    """What Redis would store, and what Argon2 gets."""
    return hashlib.sha256(password).digest()


def matching(forms: Iterable[str], digest: bytes) -> str | None:
    """The form that the password fits. Every recipe is tried, every hash compared, whatever has been found before."""
    found: str | None = None
    derived: dict[Recipe, bytes] = {}
    for form in forms:
        recipe, expected = parse(form)
        if recipe not in derived:
            derived[recipe] = recipe.derive(digest)
        if hmac.compare_digest(derived[recipe], expected):
            found = form
    return found


@dataclass(frozen=True, slots=True)
class Policy:
    """What a new password has to satisfy; 0 switches a part off. A hash shows neither length nor characters."""

    min_length: int = 0  # password-min-length
    classes: int = 0  # password-classes: how many of lower case, upper case, digits and others it must have
    history: int = 0  # password-history: how many of the last ones may not come back

    def check(self, password: bytes) -> None:
        """Raises PasswordRefused; the text names the directive."""
        text = password.decode("utf-8", "surrogateescape")
        if len(text) < self.min_length:
            raise PasswordRefused(f"The password has fewer than {self.min_length} characters (password-min-length)")
        if len({_class_of(character) for character in text}) < self.classes:
            raise PasswordRefused(
                f"The password has characters of fewer than {self.classes} of the classes lower case, upper case, "
                "digits and others (password-classes)"
            )

    def check_history(self, form: str, history: Sequence[str]) -> None:
        if form in newest(history, self.history):
            raise PasswordRefused(f"The password is one of the last {self.history} (password-history)")


def newest(history: Sequence[str], count: int) -> Sequence[str]:
    return history[-count:] if count else ()


def needs_sealing(rules: Iterable[bytes]) -> bool:
    """Whether `seal` has anything to derive; if not, it is quick."""
    return any(_secret_of(rule) is not None for rule in rules)


def seal(
    rules: Sequence[bytes],
    forms: Sequence[str],
    history: Sequence[str] = (),
    *,
    policy: Policy = Policy(),  # noqa: B008 - immutable
    cost: Cost = Cost(),  # noqa: B008
    token: Callable[[int], bytes] = secrets.token_bytes,
) -> list[bytes]:
    """SETUSER's rules with every password replaced: `>x` and `#hex` by `#form`, `<x` and `!hex` by `!form`.

    `forms` and `history` are the user's now. A password that the user has becomes the form it has, so that adding it
    again changes nothing; one to remove that the user has not becomes a form that the user has not, and is refused
    where all rules are. What is no password stays as it is, even if it is wrong. The policy looks only at passwords
    that the user will have and has not now: repeating what is in force is no change. Raises PasswordRefused.
    """
    sealer = _Sealer(forms, newest(history, policy.history), cost, token)
    sealed = [sealer.translate(rule) for rule in rules]
    for form, password in sealer.clear.items():
        if form in sealer.now and form not in forms:
            policy.check(password)
    for form in sealer.now:
        if form not in forms:
            policy.check_history(form, history)
    if len({parse(form).recipe for form in sealer.now}) > RECIPES_MAX:
        raise PasswordRefused(TOO_MANY_RECIPES)
    return sealed


class _Sealer:
    """Follows what the rules do to the user's passwords, one after the other."""

    def __init__(
        self, forms: Sequence[str], history: Sequence[str], cost: Cost, token: Callable[[int], bytes]
    ) -> None:
        self.now = dict.fromkeys(forms)  # in order, each once
        self.clear: dict[str, bytes] = {}  # form -> password, where it was given in clear
        self._known = {*forms, *history}  # a password that is one of these keeps its form
        recipes = dict.fromkeys(parse(form).recipe for form in (*forms, *history))
        mine = next((recipe for recipe in recipes if recipe.cost == cost), None)
        self._recipe = mine or Recipe(cost, token(SALT_BYTES))
        self._others = [recipe for recipe in recipes if recipe != self._recipe]
        self._done: dict[bytes, str] = {}

    def translate(self, rule: bytes) -> bytes:
        digest = _secret_of(rule)
        if digest is None:
            self._follow(rule)
            return rule
        form = self._form_of(digest)
        if rule[:1] in b">#":
            self.now[form] = None
            if rule[:1] == b">":
                self.clear[form] = rule[1:]
            return b"#" + form.encode()
        self.now.pop(form, None)
        return b"!" + form.encode()

    def _follow(self, rule: bytes) -> None:
        """Rules that are no secrets may still add and remove passwords; malformed ones do nothing, and fail later."""
        if rule.lower() in (b"resetpass", b"nopass", b"reset"):
            self.now.clear()
        elif rule[:1] in (b"#", b"!"):
            form = rule[1:].decode("utf-8", "surrogateescape")
            try:
                parse(form)
            except PasswordRefused:
                return
            if rule[:1] == b"#":
                self.now[form] = None
            else:
                self.now.pop(form, None)

    def _form_of(self, digest: bytes) -> str:
        known = self._done.get(digest)
        if known is None:
            own = str(Stored(self._recipe, self._recipe.derive(digest)))
            elsewhere = [str(Stored(recipe, recipe.derive(digest))) for recipe in self._others]
            known = next((form for form in (own, *elsewhere) if form in self._known), own)
            self._done[digest] = known
        return known


def expired(expire_at: int, now_ms: int) -> bool:
    """Whether a user is past its time; `expire_at` in Unix seconds, 0 is never."""
    return 0 < expire_at * 1000 <= now_ms


def _secret_of(rule: bytes) -> bytes | None:
    """The SHA-256 of the password that a rule carries, if it carries one."""
    if rule[:1] in (b">", b"<"):
        return digest_of(rule[1:])
    if rule[:1] in (b"#", b"!") and _HEX_BYTES.fullmatch(rule, 1):
        return bytes.fromhex(rule[1:].decode("ascii"))
    return None


def _class_of(character: str) -> str:
    if character.islower():
        return "lower"
    if character.isupper():
        return "upper"
    return "digit" if character.isdigit() else "other"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii").rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
