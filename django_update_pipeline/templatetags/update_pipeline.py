"""`{% load update_pipeline %}{% update_pipeline_js %}`: the browser client on a page."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..routing import socket_path

register = template.Library()


@register.simple_tag(takes_context=True)
def update_pipeline_js(context: template.Context, nonce: Any = "") -> SafeString:
    """Loads the client as the global `UpdatePipeline`, before the scripts behind it that are `defer` or modules.

    There is no inline script, so a policy of `script-src 'self'` lets it run; where the policy goes by nonces, give it
    the page's: `{% update_pipeline_js nonce=csp_nonce %}`. The tag tells the client where the socket is, so
    `UpdatePipeline.connect()` needs no address.
    """
    path = socket_path(context.get("request"))
    attribute = format_html(' nonce="{}"', nonce) if nonce else ""
    return format_html(
        '<script src="{}" data-update-pipeline-socket="{}"{} defer></script>',
        static("django_update_pipeline/client.iife.js"),
        path,
        attribute,
    )
