from auditlog.apps import AuditlogConfig
from django.apps import AppConfig


class TeamsConfig(AppConfig):
    name = "teams"
    default = True
    verbose_name = "Who"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from teams import audit
        from teams.paths import register_converters

        register_converters()
        audit.start()


class AuditTrailConfig(AuditlogConfig):  # type: ignore[misc]  # it has no types
    """django-auditlog, as the admin calls it."""

    verbose_name = "Audit trail"
