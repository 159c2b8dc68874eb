from importlib import import_module

from django.apps import AppConfig


class CategorisationConfig(AppConfig):
    name = "categorisation"
    verbose_name = "Categories and runs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from categorisation.checks import check_classifier
        from categorisation.models import Category, Taxonomy
        from knowledge.checks import refuse_to_start
        from teams import audit

        import_module("categorisation.receivers")
        refuse_to_start(check_classifier(None))
        # examples may be questions that somebody asked
        texts = ["project", "title", "description", "deleted_at", "reassigned_to"]
        audit.record_changes_of(Category, texts, only_that=["examples"])
        audit.record_changes_of(Taxonomy, ["is_enabled", "max_lanes", "backfill_is_suspended"])
