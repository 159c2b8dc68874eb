from django.db import migrations, models
from django.db.models import F, OrderBy

from schema.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    """The admin lists the conversations of all projects, newest first."""

    atomic = False

    dependencies = [("query", "0007_erasure")]

    operations = [
        AddIndexConcurrently(
            "thread",
            models.Index(
                OrderBy(F("created_at"), descending=True),
                OrderBy(F("id"), descending=True),
                name="thread_newest_of_all",
            ),
        ),
        migrations.AlterField("thread", "is_uncertain", models.BooleanField(default=False, verbose_name="uncertain")),
    ]
