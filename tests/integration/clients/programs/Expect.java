// Uploads with `Expect: 100-continue` over HTTP/2, by java.net.http.HttpClient. Prints, for each, the
// version and the status of the answer.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

public class Expect {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        for (var upload : new String[][] {
            {"text/plain", "small <<pat>>"},
            {"application/json", "{\"filler\":\"" + "x".repeat(3_000_000) + "\",\"k\":\"<<pat>>\"}"},
            {"image/png", "y".repeat(3_000_000)},
            {"text/plain", "<<no-such-key>>"},
        }) {
            var request = HttpRequest.newBuilder(URI.create("https://api.example.test/upload"))
                .timeout(Duration.ofSeconds(60))
                .expectContinue(true)
                .header("Content-Type", upload[0])
                .POST(BodyPublishers.ofString(upload[1]))
                .build();
            var answer = client.send(request, BodyHandlers.ofString());
            System.out.println(answer.version() + " " + answer.statusCode());
        }
    }
}
