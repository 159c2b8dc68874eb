#!/bin/sh
# Becomes a command in a container's stead: enter_image.sh ROOT UID:GID WORKDIR COMMAND...
# In a mount namespace of its own (unshare --mount): the image's root is read-only, /tmp is empty and its own, and
# VOLUMES (lines of SOURCE TARGET MODE) and HOSTS (a file) are where the container has them.
set -eu
root=$1 user=$2 folder=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -t tmpfs -o size=512m,mode=1777 tmpfs "$root/tmp"
mount --bind "$HOSTS" "$root/etc/hosts"
printf '%s' "$VOLUMES" | while read -r source target mode; do
    mount --bind "$source" "$root$target"
    [ "$mode" = rw ] || mount -o "remount,bind,$mode" "$root$target"
done
mount -o remount,bind,ro "$root"
unset HOSTS VOLUMES
exec setpriv --no-new-privs chroot --userspec="$user" "$root" /bin/sh -c 'cd "$1"; shift; exec "$@"' - "$folder" "$@"
