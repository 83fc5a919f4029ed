package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

const protobuf = "application/vnd.kubernetes.protobuf"

// kubernetes knows the types of the core group.
func kubernetes() (*runtime.Scheme, serializer.CodecFactory) {
	scheme := runtime.NewScheme()
	must(corev1.AddToScheme(scheme))
	return scheme, serializer.NewCodecFactory(scheme)
}

// encoded is an object as the API writes it in protobuf.
func encoded(object runtime.Object) []byte {
	_, codecs := kubernetes()
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), protobuf)
	data, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), object)
	must(err)
	return data
}

func configMap(name, content string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"echo": content}}
}

// kubernetesServer gives out one event of a watch for each request for /turn.
func kubernetesServer() {
	turn := make(chan struct{})
	routes := http.NewServeMux()
	routes.HandleFunc("POST /turn", func(http.ResponseWriter, *http.Request) { turn <- struct{}{} })
	routes.HandleFunc("GET /api/v1/namespaces/default/configmaps", func(answer http.ResponseWriter, request *http.Request) {
		bearer := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
		if request.FormValue("watch") == "" {
			answerList(answer, request, bearer)
		} else {
			answerWatch(answer, request, bearer, turn)
		}
	})
	routes.HandleFunc("GET /exec", answerExec)
	serveHTTP(routes)
}

func answerList(answer http.ResponseWriter, request *http.Request, bearer string) {
	var list corev1.ConfigMapList
	for number := range 5000 {
		list.Items = append(list.Items, *configMap(fmt.Sprintf("map-%d", number), bearer))
	}
	expect("the client takes gzip", request.Header.Get("Accept-Encoding") == "gzip", request.Header)
	answer.Header().Set("Content-Type", protobuf)
	answer.Header().Set("Content-Encoding", "gzip")
	writer := gzip.NewWriter(answer)
	_, err := writer.Write(encoded(&list))
	must(err)
	must(writer.Close())
}

func answerWatch(answer http.ResponseWriter, request *http.Request, bearer string, turn chan struct{}) {
	_, codecs := kubernetes()
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), protobuf)
	answer.Header().Set("Content-Type", protobuf+";stream=watch")
	frames := info.StreamSerializer.Framer.NewFrameWriter(answer)
	for number := 0; ; number++ {
		answer.(http.Flusher).Flush()
		select {
		case <-turn:
		case <-request.Context().Done():
			return
		}
		object := encoded(configMap(fmt.Sprintf("map-%d", number), bearer))
		event := metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: object}}
		frame, err := event.Marshal()
		must(err)
		if _, err := frames.Write(frame); err != nil {
			return
		}
	}
}

// answerExec speaks the protocol of `kubectl exec` over WebSocket: a byte for the stream before each
// message. It says back what it reads, after the token it was called with.
func answerExec(answer http.ResponseWriter, request *http.Request) {
	const stdin, stdout, status, closed = 0, 1, 3, 255
	upgrader := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	socket, err := upgrader.Upgrade(answer, request, nil)
	if err != nil {
		return
	}
	defer socket.Close()
	say := func(stream byte, text string) {
		must(socket.WriteMessage(websocket.BinaryMessage, append([]byte{stream}, text...)))
	}
	say(stdout, strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")+"|")
	for {
		_, message, err := socket.ReadMessage()
		if err != nil {
			return
		}
		if bytes.Equal(message, []byte{closed, stdin}) {
			say(status, `{"metadata":{},"status":"Success"}`)
			end := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
			must(socket.WriteMessage(websocket.CloseMessage, end))
			continue
		}
		say(stdout, string(message[1:]))
	}
}

func kubernetesClient() {
	scheme, codecs := kubernetes()
	config := &rest.Config{
		Host:        "https://" + host,
		APIPath:     "/api",
		BearerToken: placeholder,
		ContentConfig: rest.ContentConfig{
			ContentType:          protobuf,
			AcceptContentTypes:   protobuf,
			GroupVersion:         &corev1.SchemeGroupVersion,
			NegotiatedSerializer: codecs.WithoutConversion(),
		},
	}
	api, err := rest.RESTClientFor(config)
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lists(ctx, api)
	watches(ctx, api, runtime.NewParameterCodec(scheme))
	executes(ctx, config, api)
}

func lists(ctx context.Context, api rest.Interface) {
	var list corev1.ConfigMapList
	must(api.Get().Namespace("default").Resource("configmaps").Do(ctx).Into(&list))
	expect("the list is whole", len(list.Items) == 5000, fmt.Sprint(len(list.Items)))
	for _, item := range list.Items {
		expect("the echo is masked", item.Data["echo"] == mask(), item.Data["echo"])
	}
}

// watches asks for the next event once the one before is there.
func watches(ctx context.Context, api rest.Interface, parameters runtime.ParameterCodec) {
	options := metav1.ListOptions{Watch: true}
	watch, err := api.Get().Namespace("default").Resource("configmaps").VersionedParams(&options, parameters).Watch(ctx)
	must(err)
	defer watch.Stop()
	for number := range 50 {
		must(api.Post().AbsPath("/turn").Do(ctx).Error())
		select {
		case event := <-watch.ResultChan():
			object, is := event.Object.(*corev1.ConfigMap)
			expect("the event is an object", is, fmt.Sprint(event))
			expect("it is the next one", object.Name == fmt.Sprintf("map-%d", number), object.Name)
			expect("the echo is masked", object.Data["echo"] == mask(), object.Data["echo"])
		case <-time.After(20 * time.Second):
			fail("event %d did not arrive before the next one", number)
		}
	}
}

// executes runs a command in a container as kubectl does. SPDY, which kubectl tries after WebSocket,
// is refused with words that it shows.
func executes(ctx context.Context, config *rest.Config, api rest.Interface) {
	url := api.Get().AbsPath("/exec").URL()
	overWebSocket, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	must(err)
	var out bytes.Buffer
	streams := remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out}
	must(overWebSocket.StreamWithContext(ctx, streams))
	expect("what was said comes back", out.String() == mask()+"|hello", out.String())
	overSPDY, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	must(err)
	err = overSPDY.StreamWithContext(ctx, streams)
	expect("SPDY is refused", strings.Contains(fmt.Sprint(err), "upgrade_unsupported"), fmt.Sprint(err))
}
