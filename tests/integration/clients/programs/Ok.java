// Sends a bearer token by OkHttp, without a word about a proxy. Prints the status of the answer.

import okhttp3.OkHttpClient;
import okhttp3.Request;

public class Ok {
    public static void main(String[] args) throws Exception {
        var request = new Request.Builder()
            .url("https://api.example.test/bearer")
            .header("Authorization", "Bearer <<pat>>")
            .build();
        var client = new OkHttpClient();
        try (var response = client.newCall(request).execute()) {
            System.out.println(response.code());
        }
        client.dispatcher().executorService().shutdown();
        client.connectionPool().evictAll();
    }
}
