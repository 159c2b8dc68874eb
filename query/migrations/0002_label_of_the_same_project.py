from django.db import migrations

ADD = """
ALTER TABLE query_thread
    ADD CONSTRAINT thread_category_of_same_project
    FOREIGN KEY (project_id, category_id) REFERENCES categorisation_category (project_id, id)
    ON DELETE RESTRICT;
"""
DROP = "ALTER TABLE query_thread DROP CONSTRAINT thread_category_of_same_project;"


class Migration(migrations.Migration):
    """The database refuses a label that is a category of another project, and the deletion of one that is borne."""

    dependencies = [
        ("query", "0001_initial"),
        ("categorisation", "0001_initial"),
    ]

    operations = [migrations.RunSQL(ADD, DROP)]
