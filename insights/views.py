"""The page behind the links of a mail: how often somebody wants reports. Who has the link needs no login."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from insights import composition, services
from insights.errors import LinkNotValid
from insights.models import DEFAULT, FREQUENCIES, ReportPreference
from insights.periods import Frequency

PAGE = "insights/preference.html"


@csrf_exempt  # mail programs post without cookies (RFC 8058); the token is what shows that somebody may
@require_http_methods(["GET", "HEAD", "POST"])
def report_preference(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows, and changes nothing: programs that look for dangerous links follow every link of a mail.

    POST chooses what it names as `frequency`; without one it unsubscribes, as mail programs do by one click.
    """
    try:
        preference = services.find_preference(token)
    except LinkNotValid as error:
        return _answer(request, 404, problem=str(error))
    if request.method != "POST":
        return _answer(request, 200, preference)
    try:
        frequency = Frequency(request.POST.get("frequency", Frequency.OFF.value))
    except ValueError:
        return _answer(request, 400, preference, problem="Choose one of these.")
    services.choose_frequency(preference, frequency)
    return _answer(request, 200, preference, is_changed=True)


def _answer(
    request: HttpRequest,
    status: int,
    preference: ReportPreference | None = None,
    *,
    is_changed: bool = False,
    problem: str = "",
) -> HttpResponse:
    current = preference.frequency if preference else DEFAULT
    context = {
        "team": preference.team.name if preference else "",
        "current": current or composition.choices().default_frequency.value,
        "frequencies": FREQUENCIES,
        "is_changed": is_changed,
        "is_off": current == Frequency.OFF,
        "problem": problem,
    }
    response = render(request, PAGE, context, status=status)
    response["X-Robots-Tag"] = "noindex"
    return response
