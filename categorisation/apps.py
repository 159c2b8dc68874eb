from importlib import import_module

from django.apps import AppConfig


class CategorisationConfig(AppConfig):
    name = "categorisation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from categorisation.checks import check_classifier
        from knowledge.checks import refuse_to_start

        import_module("categorisation.receivers")
        refuse_to_start(check_classifier(None))
