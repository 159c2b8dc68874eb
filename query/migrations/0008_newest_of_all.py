from django.db import migrations, models
from django.db.models import F, Func, OrderBy, Value

from schema.operations import AddIndexConcurrently

CREATED_AT_BY_UTC = Func(Value("UTC"), F("created_at"), function="timezone", output_field=models.DateTimeField())


class Migration(migrations.Migration):
    """The admin lists the conversations of all projects, newest first."""

    atomic = False

    dependencies = [("query", "0007_erasure")]

    operations = [
        AddIndexConcurrently(
            "thread",
            models.Index(
                OrderBy(CREATED_AT_BY_UTC, descending=True),
                OrderBy(F("id"), descending=True),
                name="thread_newest_of_all",
            ),
        ),
    ]
