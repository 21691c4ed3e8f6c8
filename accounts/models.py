from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    class Meta(AbstractUser.Meta):
        permissions = [("use_admin", "Can use the admin panel")]
