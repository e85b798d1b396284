plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "classify"
    compileSdk = 35
    defaultConfig {
        applicationId = "classify"
        minSdk = 24
        targetSdk = 35
        versionCode = 1
        versionName = "1"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
    androidResources { noCompress += "onnx" }
    sourceSets["main"].assets.srcDir(layout.buildDirectory.dir("bundle"))
}

// The bundle, three folders up, becomes the app's assets: the files are not copied by hand.
val bundleAssets by tasks.registering(Copy::class) {
    from(rootDir.resolve("../..")) {
        include("manifest.json", "model.image.onnx", "golden/**")
    }
    into(layout.buildDirectory.dir("bundle"))
}
tasks.named("preBuild") { dependsOn(bundleAssets) }

dependencies {
    val camera = "1.4.1"
    implementation("androidx.appcompat:appcompat:1.7.0")
    implementation("androidx.camera:camera-camera2:$camera")
    implementation("androidx.camera:camera-lifecycle:$camera")
    implementation("androidx.camera:camera-view:$camera")
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.22.0")
}
