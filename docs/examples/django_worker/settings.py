USE_TZ = True
INSTALLED_APPS = ["django_tasks_db", "progresskit_django_tasks"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
