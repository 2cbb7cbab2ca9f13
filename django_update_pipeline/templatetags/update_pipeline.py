"""`{% load update_pipeline %}{% update_pipeline_js %}`: the browser client on a page."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.crypto import salted_hmac
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..routing import socket_path

register = template.Library()


@register.simple_tag(takes_context=True)
def update_pipeline_js(context: template.Context, nonce: Any = "", owner: Any = "") -> SafeString:
    """Loads the client as the global `UpdatePipeline`, before the scripts behind it that are `defer` or modules.

    There is no inline script, so a policy of `script-src 'self'` lets it run; where the policy goes by nonces, give it
    the page's: `{% update_pipeline_js nonce=csp_nonce %}`. The tag tells the client where the socket is, so
    `UpdatePipeline.connect()` needs no address.

    `owner` says whose page it is (`owner=user.pk`): what a client keeps over a reload is then never shown to somebody
    else who uses the same tab. A digest of it goes into the page.
    """
    attributes = format_html(' data-update-pipeline-socket="{}"', socket_path(context.get("request")))
    if owner not in ("", None):
        digest = salted_hmac("django_update_pipeline.owner", str(owner)).hexdigest()[:16]
        attributes += format_html(' data-update-pipeline-owner="{}"', digest)
    if nonce:
        attributes += format_html(' nonce="{}"', nonce)
    return format_html(
        '<script src="{}"{} defer></script>', static("django_update_pipeline/client.iife.js"), attributes
    )
