"""The demo: a group of robots on a real cluster, from `helm install` to the death of its active robot and back."""
