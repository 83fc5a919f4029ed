// Uploads with `Expect: 100-continue` over HTTP/2, by OkHttp. Prints, for each, the version and the
// status of the answer.

import java.util.concurrent.TimeUnit;
import okhttp3.MediaType;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;

public class OkExpect {
    public static void main(String[] args) throws Exception {
        var client = new OkHttpClient.Builder().callTimeout(60, TimeUnit.SECONDS).build();
        for (var upload : new String[][] {
            {"text/plain", "small <<pat>>"},
            {"application/json", "{\"filler\":\"" + "x".repeat(3_000_000) + "\",\"k\":\"<<pat>>\"}"},
            {"image/png", "y".repeat(3_000_000)},
            {"text/plain", "<<no-such-key>>"},
        }) {
            var request = new Request.Builder()
                .url("https://api.example.test/upload")
                .header("Expect", "100-continue")
                .post(RequestBody.create(upload[1], MediaType.get(upload[0])))
                .build();
            try (var answer = client.newCall(request).execute()) {
                System.out.println(answer.protocol().name() + " " + answer.code());
            }
        }
        client.dispatcher().executorService().shutdown();
        client.connectionPool().evictAll();
    }
}
