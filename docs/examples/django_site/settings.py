from pathlib import Path

here = Path(__file__).resolve().parent

SECRET_KEY = "a long random string"
ALLOWED_HOSTS = ["localhost", "testserver"]
INSTALLED_APPS = ["progresskit_django"]
ROOT_URLCONF = "django_site.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [here / "templates"]}]

PROGRESSKIT = {"URL": f"sqlite:///{here}/progress.db", "MAX_STREAMS": 4}
