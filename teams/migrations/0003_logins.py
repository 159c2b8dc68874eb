from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("teams", "0002_calls_of_keys")]

    operations = [
        migrations.CreateModel(
            name="LoginBucket",
            fields=[
                ("subject", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("empty_at", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.RunSQL("ALTER TABLE teams_loginbucket SET UNLOGGED", migrations.RunSQL.noop),
    ]
