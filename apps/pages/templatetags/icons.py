"""The icons, for every template: a page shows dozens, and a tag costs a fraction of what an included template does."""

from __future__ import annotations

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return one of the icons of ``static/img/icons.svg``; what it means stands beside it in words."""
    use = f"{static('img/icons.svg')}#{name}"
    return format_html('<svg class="icon" aria-hidden="true" focusable="false"><use href="{}"></use></svg>\n', use)
