"""`deft serve`: every address of the page to work in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.web.compare import Compare
from deft_aoi.web.figures_api import Figures
from deft_aoi.web.loopback import Call, Door, Endpoint, make_app
from deft_aoi.web.map_api import Map
from deft_aoi.web.review_api import Review
from deft_aoi.web.runs_api import Runs
from deft_aoi.web.site import Site

if TYPE_CHECKING:
    from starlette.types import ASGIApp

TITLE = "deft serve"
PAGE = SKILL_ROOT / "assets/page/index.html"


def endpoints(site: Site, *, look: bool = False) -> list[Endpoint]:
    """Every address; `look` is what the page knows of its own rights."""

    def about(call: Call) -> dict[str, Any]:
        return {"look": look, "workspaces": [str(one.root) for one in site.workspaces], "scored": len(site.scored)}

    rights = Endpoint("GET", "/api/about", about, "what this server shows and allows", answer={"type": "object"})
    parts = (Runs(site), Review(site), Map(site), Figures(site), Compare(site))
    return [rights, *(one for part in parts for one in part.endpoints())]


def page_app(site: Site, door: Door) -> ASGIApp:
    return make_app(door, TITLE, endpoints(site, look=door.look), page=PAGE)
