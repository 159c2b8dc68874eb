from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    """The CHECK before this one let a label without a source pass: with it, the condition was neither true nor false.

    From now on it is refused; the rows that are there are looked at by the next migration, which holds no lock that
    a request waits for.
    """

    dependencies = [
        ("query", "0004_indexes_for_lists_and_claims"),
    ]

    operations = [
        AddConstraintNotValid(
            model_name="thread",
            constraint=models.CheckConstraint(
                name="thread_label_is_whole",
                condition=Q(
                    category_source=None,
                    category=None,
                    category_confidence=None,
                    categorised_at=None,
                    category_taxonomy_version=None,
                )
                | Q(
                    category_source__isnull=False,
                    category_source="classifier",
                    category__isnull=False,
                    categorised_at__isnull=False,
                )
                | Q(
                    category_source__isnull=False,
                    category_source="user",
                    category_confidence=None,
                    categorised_at__isnull=False,
                ),
            ),
        ),
    ]
