# Makes the inside of a machine; runs once in its fresh namespaces.
#   NAME ADDRESS GATEWAY DIRECTORY BIN [ROUTE-TO VIA]…
# Its /var and /run are its own (in DIRECTORY and in memory): whatever runs in it may use the customary paths, two
# machines never meet there, and when its last process ends the kernel removes every mount by itself.
name=$1 address=$2 gateway=$3 directory=$4 bin=$5
shift 5

mount --make-rprivate /
mkdir -p "$directory/var/lib" "$directory/var/log" "$directory/var/tmp" "$directory/var/local" "$directory/run"
chmod 1777 "$directory/var/tmp"
ln -sfn /run "$directory/var/run"
mount -t tmpfs -o mode=755 tmpfs "$directory/run"
mkdir -p "$directory/run/robotgroups/bin" "$directory/run/lock"
mount --bind "$bin" "$directory/run/robotgroups/bin"
mount --rbind "$directory/run" /run
mount --bind "$directory/var" /var
mount --make-rshared / # kubelet and containerd hand mounts to each other

hostname "$name"
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
while [ $# -ge 2 ]; do
  ip route add "$1" via "$2"
  shift 2
done
echo 1 >/proc/sys/net/ipv4/ip_forward
