INSTALLED_APPS += ["progresskit_django", "mysite"]
PROGRESSKIT = {"URL": f"sqlite:///{BASE_DIR}/progress.db"}
