from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.start),
    path("progress/", include("progresskit_django.urls")),
]
