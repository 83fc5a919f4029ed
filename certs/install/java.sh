# The roots of the Java that is first in PATH. As whoever may write there: sh java.sh install|remove CA.pem NAME
# JAVA_KEYSTORE names another key store, KEYSTORE_PASSWORD its password.
set -eu
password=${KEYSTORE_PASSWORD:-changeit}
if [ -n "${JAVA_KEYSTORE:-}" ]; then set -- "$@" -keystore "$JAVA_KEYSTORE"; else set -- "$@" -cacerts; fi
action=$1 ca=$2 name=$3
shift 3
case $action in
install) keytool -importcert -noprompt "$@" -storepass "$password" -alias "$name" -file "$ca" ;;
remove) keytool -delete "$@" -storepass "$password" -alias "$name" ;;
esac
