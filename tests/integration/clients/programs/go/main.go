// Clients of Go libraries that send a placeholder, and the servers that they speak to: gRPC, Connect,
// the API of Kubernetes, and OAuth; and the loader of Compose files. `clients NAME-server VALUE` prints the
// server's port, `clients NAME` is the client, which ends with status 1 where something is not as it should be.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	host        = "api.example.test"
	placeholder = "<<pat>>"
)

func main() {
	roles := map[string]func(){
		"grpc-server":       grpcServer,
		"grpc":              grpcClient,
		"connect-server":    connectServer,
		"connect":           connectClient,
		"kubernetes-server": kubernetesServer,
		"kubernetes":        kubernetesClient,
		"oauth":             oauthClient,
		"compose":           composeProject,
	}
	role, isKnown := roles[os.Args[1]]
	if !isKnown {
		fail("there is no client %q", os.Args[1])
	}
	role()
}

// value is what the upstream gets for the placeholder.
func value() string { return os.Args[2] }

// mask is what comes back in its place where lengths must stay.
func mask() string { return strings.Repeat("*", len(value())) }

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail("%T: %v", err, err)
	}
}

func expect(what string, is bool, got any) {
	if !is {
		fail("not so: %s: %q", what, got)
	}
}

// listen prints the port that it listens on.
func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return listener
}

// serveHTTP serves HTTP/1.1, and HTTP/2 without TLS.
func serveHTTP(handler http.Handler) {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Handler: handler, Protocols: &protocols}
	must(server.Serve(listen()))
}

// overHTTP2 is a client that offers nothing else, as calls in both directions need it.
func overHTTP2() *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, Protocols: &protocols}
	return &http.Client{Transport: transport, Timeout: time.Minute}
}
