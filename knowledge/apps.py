from django.apps import AppConfig
from django.core.checks import register


class KnowledgeConfig(AppConfig):
    name = "knowledge"
    verbose_name = "What bots know"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from knowledge import checks, emptying, libraries
        from teams import deletion

        libraries.discard_those_of_deleted_rows()
        deletion.register(emptying.empty_project)
        register(checks.check_settings)
        checks.refuse_to_start(checks.check_settings())
