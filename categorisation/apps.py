from importlib import import_module

from django.apps import AppConfig


class CategorisationConfig(AppConfig):
    name = "categorisation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import_module("categorisation.checks")
        import_module("categorisation.receivers")
