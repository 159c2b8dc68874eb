from django.apps import AppConfig


class InsightsConfig(AppConfig):
    name = "insights"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from insights.models import ReportPreference
        from teams import audit

        audit.record_changes_of(ReportPreference, ["user", "team", "frequency"])
