from django.apps import AppConfig
from django.core.checks import register


class QueryConfig(AppConfig):
    name = "query"
    verbose_name = "Conversations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from knowledge.checks import refuse_to_start
        from query import emptying
        from query.checks import check_settings

        emptying.listen()
        register(check_settings)
        refuse_to_start(check_settings())
