from django.urls import include

from . import views

urlpatterns += [
    path("", views.home, name="home"),
    path("jobs/<id>/", views.job, name="job"),
    path("progress/", include("progresskit_django.urls")),
]
