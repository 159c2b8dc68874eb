from django.apps import AppConfig


class CategorisationConfig(AppConfig):
    name = "categorisation"
    default_auto_field = "django.db.models.BigAutoField"
