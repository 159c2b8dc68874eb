from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    """Look at the rows that are there, then drop the CHECK that the new one contains."""

    dependencies = [
        ("query", "0005_label_without_source_is_refused"),
    ]

    operations = [
        ValidateConstraint(model_name="thread", name="thread_label_is_whole"),
        migrations.RemoveConstraint(model_name="thread", name="thread_label_makes_sense"),
    ]
