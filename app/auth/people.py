"""The people whom an authenticating proxy names, and what their groups allow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from app.auth.keyring import CHALLENGE, Caller
from app.http.caller_ids import PERSON
from core.addresses import entries
from core.errors import Unauthenticated
from core.proxy_user import EVERYONE, ProxyUser
from masktune.contract.vocabulary import Scope

Identity = Sequence[tuple[bytes, bytes]]
"""The headers of a request about its person: pairs of lower-case name and text."""

MOST_NAME = 59
"""Characters: `created_by` and the audit log keep 64, `user:` included."""
_NAME = re.compile(rb"(?! )[ -'*-z|~]{1,%d}(?<! )" % MOST_NAME)
"""Printable ASCII but `(){}`: a proxy may send `(null)`, or the placeholder itself (Caddy), for nobody."""


class People:
    """The people of the settings: no one is known before a request names them."""

    def __init__(self, user: ProxyUser, scopes: Mapping[str, frozenset[Scope]]) -> None:
        """`scopes`: what each group allows; those of `EVERYONE` hold for all."""
        self._user, self._scopes = user, scopes

    def identify(self, identity: Identity) -> Caller:
        """Return the person, who may have no scope at all.

        Raises `Unauthenticated` unless there is one name, and at most one list of groups. A second one may be
        the client's own, which the proxy should have removed.
        """
        names = self._texts(identity, self._user.header)
        groups = self._texts(identity, self._user.groups_header)
        if len(names) != 1 or len(groups) > 1 or _NAME.fullmatch(names[0]) is None:
            raise Unauthenticated(
                f"the proxy in front must send {self._user.header} once, with 1 to {MOST_NAME} characters of "
                "ASCII and none of (){}, and the groups at most once; sign in there, or send a key",
                headers=CHALLENGE,
            )
        name, own_groups = names[0].decode(), entries(b"".join(groups).decode(errors="replace"))
        scopes = frozenset[Scope]().union(*(self._scopes.get(group, ()) for group in (EVERYONE, *own_groups)))
        return Caller(PERSON + name, scopes, name)

    @staticmethod
    def _texts(identity: Identity, header: str) -> list[bytes]:
        return [text for name, text in identity if name == header.lower().encode()]
